"""The texts that are stored and sent can be read back."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.contract import (
    Problem,
    Reference,
    body_of,
    canonical_id,
    changed_fields,
    decode_id,
    encode_id,
    fields_of,
    payload_of,
    problems_from_json,
    problems_to_json,
)

pytestmark = pytest.mark.quick
TEXT = st.text(st.characters(codec="utf-8"))
FIELDS = st.dictionaries(st.sampled_from(["account", "start", "end", "description"]), st.none() | TEXT, min_size=1)  # fmt: skip


@given(FIELDS)
def test_a_payload_gives_its_fields_back_and_equal_fields_are_equal_texts(fields):
    payload = payload_of(fields)

    assert fields_of(payload) == fields
    assert payload == payload_of(dict(reversed(fields.items())))


@given(TEXT, FIELDS)
def test_the_body_is_the_reference_and_the_payload(reference, fields):
    assert json.loads(body_of(Reference(reference), payload_of(fields))) == {
        "reference": reference,
        **fields,
    }


@given(FIELDS, FIELDS)
def test_the_changed_fields_are_those_that_differ(old, new):
    diff = changed_fields(payload_of(old), payload_of(new))

    assert {name: pair[1] for name, pair in diff.items() if name in new} == {
        name: value for name, value in new.items() if name not in old or old[name] != value
    }
    assert set(diff) - set(new) == set(old) - set(new)


def test_without_an_old_payload_every_field_is_a_change():
    assert changed_fields(None, payload_of({"account": "A", "end": None})) == {
        "account": (None, "A"),
        "end": (None, None),
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([17], "17"),
        (["a b"], "a b"),
        ([Decimal("1.50")], "1.50"),
        ([b"\x01\xff"], "01ff"),
        ([date(2026, 1, 2)], "2026-01-02"),
        ([datetime(2026, 1, 2, tzinfo=UTC)], "2026-01-02T00:00:00+00:00"),
        ([True], "true"),
        (["DE", 7], '["DE",7]'),
        (["a\0b"], "a\\0b"),
        (["a\ud800"], "a\\ud800"),
    ],
)
def test_a_row_has_an_id_that_people_can_type_and_databases_can_keep(values, text):
    assert encode_id(values) == text


@given(st.lists(st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))  # fmt: skip
def test_an_id_gives_its_parts_back(values):
    assert decode_id(encode_id(values), len(values)) == tuple(str(value) for value in values)


@pytest.mark.parametrize("text", ["17", "[1]", "[1,2,3]", "{}", "nonsense", "", "[1,"])
def test_a_text_that_is_no_id_of_two_columns_is_none(text):
    assert decode_id(text, 2) is None


@given(st.lists(st.builds(Problem, TEXT, TEXT)))
def test_problems_can_be_read_back(problems):
    assert problems_from_json(problems_to_json(problems)) == tuple(problems)


def test_no_problems_are_kept_as_null():
    assert problems_from_json(None) == ()


@pytest.mark.parametrize(
    ("written", "known"),
    [('["ACME", 17]', '["ACME",17]'), ("17", "17"), ("[half", "[half"), ("", "")],
)
def test_a_composite_id_may_be_written_as_any_json(written: str, known: str) -> None:
    assert canonical_id(written) == known


@given(st.dictionaries(TEXT, st.none() | TEXT, max_size=5))
def test_a_payload_is_canonical_json(fields) -> None:
    compact = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert payload_of(fields) == compact
