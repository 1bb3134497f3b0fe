"""Rows become payloads by the documented rules, and what breaks one is told."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.config.model import MappingConfig
from cdc_sync.contract import Mapped, SourceId, SourceRow, fields_of
from cdc_sync.rules.mapping import compile_mapping, mapped_columns
from tests.support.configs import MAPPING

pytestmark = pytest.mark.quick
BERLIN = ZoneInfo("Europe/Berlin")
VALID = {
    "id": 17,
    "account_name": "ACME",
    "start_date": date(2024, 1, 1),
    "end_date": None,
    "plan": "Gold",
}


def map_row(
    row: dict[str, object] | None = None, *, clear_end_with: str = "null", **mapping: object
) -> Mapped:
    config = MappingConfig.model_validate({**MAPPING, **mapping})
    values = {**VALID, **(row or {})}
    ordered = [values[name] for name in mapped_columns(config)]
    to_payload = compile_mapping(config, zone=BERLIN, clear_end_with=clear_end_with)
    return to_payload(SourceRow(SourceId("17"), gone=False, values=ordered))


def field(name: str, row: dict[str, object], **mapping: object) -> object:
    mapped = map_row(row, **mapping)
    assert mapped.problems == ()
    return fields_of(mapped.payload)[name]


def problem(row: dict[str, object], **mapping: object) -> tuple[str, str]:
    (only,) = map_row(row, **mapping).problems
    return only.field, only.message


def test_a_valid_row_becomes_its_canonical_payload():
    mapped = map_row()

    assert (mapped.reference, mapped.problems) == ("erp-17", ())
    assert (
        mapped.payload == '{"account":"ACME","description":"Gold","end":null,"start":"2024-01-01"}'
    )


def test_each_column_is_read_once_in_the_order_of_its_first_use():
    mapping = MappingConfig(reference="{b}-{a}", account="a", start="c", description="{b} {c}")

    assert mapped_columns(mapping) == ("b", "a", "c")


def test_what_is_not_mapped_is_left_out():
    mapped = map_row(end=None, description=None)

    assert set(fields_of(mapped.payload)) == {"account", "start"}


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (date(2026, 2, 28), "2026-02-28"),
        (datetime(2026, 2, 28, 23, 59), "2026-02-28"),
        (datetime(2026, 2, 28, 23, 59, tzinfo=UTC), "2026-03-01"),
        ("2026-02-28", "2026-02-28"),
        (" 2026-02-28 ", "2026-02-28"),
        ("2026-02-28 23:59:59", "2026-02-28"),
        ("2026-02-28T23:59:59Z", "2026-03-01"),
        ("2026-02-28T01:00:00+05:00", "2026-02-27"),
    ],
)
def test_a_date_an_instant_and_an_iso_text_become_a_day_in_the_sources_zone(value, day):
    assert field("start", {"start_date": value}) == day


@pytest.mark.parametrize(
    "value", ["2026-02-30", "28.02.2026", "20260228", 20260228, "2026-02-28\0", "infinity", True, b"2026-01-01", Decimal(1), "２０２６-01-01"]
)  # fmt: skip
def test_what_is_no_date_is_refused_and_shown(value):
    name, message = problem({"start_date": value})

    assert name == "start"
    assert message.endswith("is not a date (YYYY-MM-DD)")


@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_start_is_required_and_an_end_is_not(value):
    assert problem({"start_date": value}) == ("start", "must not be empty")
    assert field("end", {"end_date": value}) is None


@pytest.mark.parametrize(("form", "fields"), [("null", {"end": None}), ("empty", {"end": ""}), ("omit", {})])  # fmt: skip
def test_an_end_that_was_removed_is_said_as_configured(form, fields):
    sent = fields_of(map_row(clear_end_with=form).payload)

    assert {name: sent[name] for name in sent if name == "end"} == fields


def test_a_null_in_the_reference_is_refused_and_elsewhere_it_is_empty_text():
    mapping = {"reference": "{plan}-{id}", "description": "{end_date}/{plan}"}

    assert problem({"plan": None}, **mapping) == ("reference", "the column plan is NULL")
    assert field("description", {"plan": "Gold"}, **mapping) == "/Gold"
    assert field("description", {"plan": None}) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  Gold  ", "Gold"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (7, "7"),
        (True, "true"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 23, 30, tzinfo=UTC), "2026-01-03"),
        (b"gold", "gold"),
    ],
)
def test_values_in_a_template_are_plain_text(value, text):
    assert field("description", {"plan": value}) == text


def test_braces_can_be_written():
    assert field("description", {}, description="{{{plan}}}") == "{Gold}"


@pytest.mark.parametrize(("name", "column", "longest"), [("reference", "id", 128), ("account", "account_name", 255), ("description", "plan", 150)])  # fmt: skip
def test_the_documented_limits_count_characters(name, column, longest):
    mapping = {name: column, "description_overflow": "reject"}

    assert map_row({column: "é" * longest}, **mapping).problems == ()
    assert problem({column: "é" * (longest + 1)}, **mapping) == (
        name,
        f"has {longest + 1} characters, at most {longest} are taken",
    )


def test_a_longer_description_is_cut_at_150_characters_by_default():
    assert field("description", {"plan": "é" * 151}) == "é" * 150


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize(("name", "column"), [("reference", "id"), ("account", "account_name"), ("description", "plan")])  # fmt: skip
def test_a_character_that_cannot_be_sent_is_refused(name, column, text):
    refused, message = problem({column: text}, **{name: column})

    assert refused == name
    assert "cannot be sent" in message


@pytest.mark.parametrize("column", ["id", "account_name"])
def test_an_empty_text_is_refused_where_one_is_required(column):
    assert problem({column: "  "}, reference="id")[1] == "must not be empty"


def test_all_problems_of_a_row_are_told_at_once():
    mapped = map_row({"id": None, "account_name": "", "start_date": "x", "end_date": "y"})

    assert [p.field for p in mapped.problems] == ["reference", "account", "start", "end"]
    assert mapped.reference is None


ANYTHING = st.one_of(
    st.none(), st.text(), st.characters(), st.integers(), st.booleans(), st.binary(), st.dates(),
    st.datetimes(), st.datetimes(timezones=st.timezones()), st.decimals(), st.floats(),
    st.text("0123456789-T: Z+", max_size=30),
)  # fmt: skip


@given(st.fixed_dictionaries(dict.fromkeys(VALID, ANYTHING)))
def test_no_value_makes_the_mapping_raise_and_what_passes_can_be_sent(row):
    mapped = map_row(row)

    mapped.payload.encode()
    assert mapped.problems or all(
        "\0" not in (text or "") for text in fields_of(mapped.payload).values()
    )
