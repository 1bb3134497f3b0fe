"""Durations, rates, shares and templates are read as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.config.template import TemplateColumn, parse_template, template_columns
from cdc_sync.config.units import (
    Rate,
    format_duration,
    format_rate,
    format_share,
    parse_duration,
    parse_rate,
    parse_share,
)

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("15s", timedelta(seconds=15)),
        ("0s", timedelta(0)),
        ("1.5h", timedelta(minutes=90)),
        ("90d", timedelta(days=90)),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text, value):
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "15",
        "s",
        "-5s",
        "5 s",
        "500ms",
        "1h30m",
        "5S",
        "٣s",
        "1w",
        ".5s",
        "9" * 400 + "d",
        "15s\n",
    ],
)
def test_a_wrong_duration_is_refused_with_the_right_form(text):
    with pytest.raises(
        ValueError, match=r"is not a duration\. Write .*`15s`, `5m`, `1h` or `90d`\."
    ):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=9999)))
def test_a_formatted_duration_reads_back(value):
    assert parse_duration(format_duration(value)) == pytest.approx(
        value, abs=timedelta(microseconds=1)
    )


@pytest.mark.parametrize(
    ("text", "rate"), [("20/s", Rate(20)), ("90/m", Rate(1.5)), ("none", None)]
)
def test_a_rate_is_by_the_second_or_the_minute(text, rate):
    assert parse_rate(text) == rate
    assert format_rate(rate) == text


@pytest.mark.parametrize("text", ["20", "0/s", "20/h", "/s", "-1/s", "off", ""])
def test_a_wrong_rate_is_refused_with_the_right_form(text):
    with pytest.raises(ValueError, match=r"is not a rate\. Write `20/s`, `90/m` or `none`\."):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "share"), [("20%", 0.2), ("0%", 0), ("2.5%", 0.025), ("none", None)]
)
def test_a_share_is_in_percent(text, share):
    assert parse_share(text) == share
    assert format_share(share) == text


@pytest.mark.parametrize("text", ["20", "101%", "-1%", "0.2", ""])
def test_a_wrong_share_is_refused_with_the_right_form(text):
    with pytest.raises(ValueError, match=r"is not a share\. Write .*`20%`, or `none`\."):
        parse_share(text)


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("account_name", (TemplateColumn("account_name"),)),
        ("{id}", (TemplateColumn("id"),)),
        (
            "erp-{id}/{Year End}",
            (
                "erp-",
                TemplateColumn("id"),
                "/",
                TemplateColumn("Year End"),
            ),
        ),
        ("{{{id}}}", ("{", TemplateColumn("id"), "}")),
        ("{{id}}", ("{", "id}")),
    ],
)
def test_a_template_is_texts_and_columns_in_their_order(template, parts):
    assert parse_template(template) == parts
    assert template_columns(template) == tuple(
        part.name for part in parts if isinstance(part, TemplateColumn)
    )


@pytest.mark.parametrize(
    "template",
    [
        "",
        " id",
        "{ id }",
        "{}",
        "{",
        "}",
        "{a",
        "a}",
        "{a{b}}",
        "{a:>5}",
        "{a!r}",
        "{a.b}",
        "{a[0]}",
    ],
)
def test_a_wrong_template_is_a_mistake(template):
    with pytest.raises(ValueError, match="Write"):
        parse_template(template)
