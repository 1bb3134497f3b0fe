"""`${…}` takes the environment and files, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.config.interpolate import Interpolator

pytestmark = pytest.mark.quick

ENVIRON = {"A": "a", "EMPTY": "", "LOOKS_LIKE": "${A}", "NAME": "secret"}


@pytest.fixture
def interpolator(tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "two").write_text("one\ntwo\n\n")
    (tmp_path / "form").write_text("${A}")
    return Interpolator({**ENVIRON, "FOLDER": str(tmp_path)}, tmp_path)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${A}", "a"),
        ("x${A}y${A}z", "xayaz"),
        ("${NONE:-default}", "default"),
        ("${A:-default}", "a"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${NONE:-}", ""),
        ("${NONE:-${ALSO_NONE:-${A}}}", "a"),
        ("${A:-${NONE}}", "a"),
        ("${NONE:-a:-b}", "a:-b"),
        ("${file:secret}", "hush"),
        ("${file:${NONE:-.}/${NAME}}", "hush"),
        ("${file:${FOLDER}/secret}", "hush"),
        ("${file:two}", "one\ntwo\n"),
        ("${LOOKS_LIKE}", "${A}"),
        ("${file:form}", "${A}"),
        ("$${A}", "${A}"),
        ("${NONE:-$${A}", "${A"),
        ("$A {A} $ $$ }", "$A {A} $ $$ }"),
    ],
)
def test_a_form_gives_what_it_names(interpolator, text, result):
    assert interpolator.interpolate(text) == result


@pytest.mark.parametrize(
    "text", ["${", "${A", "${}", "${A-b}", "${1A}", "${A:=b}", "${file:x", "${A:-${B}"]
)
def test_a_malformed_form_is_a_mistake(interpolator, text):
    with pytest.raises(ValueError, match="begins no form"):
        interpolator.interpolate(text)


def test_a_file_that_cannot_be_read_is_a_mistake(interpolator, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff")

    with pytest.raises(ValueError, match=r"binary, which is not UTF-8 text\."):
        interpolator.interpolate("${file:binary}")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        interpolator.interpolate("${file:.}")
    with pytest.raises(ValueError, match=r"cannot be read \(not a path\)"):
        interpolator.interpolate("${file:a\0b}")


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("postgresql://${U}:${P}@db/erp", "postgresql://a%40b:p%2Fw%3Ard%23%25@db/erp"),
        ("postgresql://x${U}@db", "postgresql://xa%40b@db"),
        ("postgresql://r:pre-${P}@db", "postgresql://r:pre-p%2Fw%3Ard%23%25@db"),
        ("postgresql://r:${NONE:-p@ss}@db", "postgresql://r:p%40ss@db"),
        ("postgresql://r:lit%40eral@${H}/erp", "postgresql://r:lit%40eral@db:5432/erp"),
        ("${WHOLE}", "postgresql://r:p%40@db/erp"),
        (
            "postgresql://${H}/erp?application_name=${U}",
            "postgresql://db:5432/erp?application_name=a@b",
        ),
        ("sqlite:///${F}", "sqlite:///a b/c@d.db"),
    ],
)
def test_only_what_stands_for_user_or_password_is_percent_encoded(url, result):
    environ = {"U": "a@b", "P": "p/w:rd#%", "H": "db:5432", "F": "a b/c@d.db"}
    environ["WHOLE"] = "postgresql://r:p%40@db/erp"

    assert Interpolator(environ, Path("/")).interpolate_url(url) == result


@given(st.text())
def test_escaping_gives_any_text_as_it_is(text):
    assert Interpolator({}, Path("/")).interpolate(text.replace("${", "$${")) == text
