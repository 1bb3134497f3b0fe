import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cdc_sync.config.load import SECTIONS, load_config
from cdc_sync.config.write import count_set_lines, render, scalar

pytestmark = pytest.mark.quick

GIVEN = {
    "source": {
        "url": "postgresql+psycopg://reader:${file:${HERE:-.}/source_password}@db/erp",
        "table": "contracts",
        "id": ["company", "number"],
        "watermark": "updated_at",
    },
    "mapping": {
        "reference": "erp-{company}-{number}",
        "account": "account_name",
        "start": "start_date",
        "end": "end_date",
    },
    "customergauge": {
        "region": "eu",
        "client_id": "007",
        "client_secret": "${file:${HERE:-.}/client_secret}",
    },
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "source_password").write_text("p@ss/word")
    (tmp_path / "client_secret").write_text("s3cret")
    file = tmp_path / "config.yaml"
    file.write_text(render(GIVEN))
    return file


def loaded(file: Path):
    return load_config(file, os.environ)


def test_what_is_written_is_read_as_it_was_given(written: Path):
    config = loaded(written)

    assert config.source.url.get_secret_value().endswith("reader:p%40ss%2Fword@db/erp")
    assert config.source.id == ("company", "number")
    assert config.customergauge.client_id == "007"
    assert config.customergauge.client_secret.get_secret_value() == "s3cret"
    assert config.mapping.description is None


def test_every_key_is_there_given_or_as_a_comment(written: Path):
    keys = re.findall(r"^(?:#   |  # |  )([a-z_]+):", written.read_text(), re.MULTILINE)

    assert keys == [key for model in SECTIONS.values() for key in model.model_fields]


def test_the_comments_are_the_defaults(written: Path):
    before = loaded(written).model_dump(mode="json")
    key = re.compile(r"^(#   |  # |# )(?=[a-z_]+:)", re.MULTILINE)
    text = key.sub(lambda found: found[0].replace("# ", "", 1), written.read_text())
    written.write_text(text)

    assert count_set_lines(text) == 10 + sum(len(m.model_fields) for m in SECTIONS.values())
    assert loaded(written).model_dump(mode="json") == before


def test_the_lines_that_matter_are_those_given():
    assert count_set_lines(render(GIVEN)) == 14


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("erp-{id}", "erp-{id}"),
        ("{plan}", "'{plan}'"),
        ("null", "'null'"),
        ("12", "'12'"),
        ("yes: no", "'yes: no'"),
        ("a #b", "'a #b'"),
        ("été", "été"),
        ("- x", "'- x'"),
        ("2026-01-01", "'2026-01-01'"),
        (None, "null"),
        (20, "20"),
        (False, "false"),
    ],
)
def test_a_value_is_plain_where_that_reads_back(value, form):
    assert scalar(value) == form


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_any_printable_text_reads_back(text):
    line = f"  key: {scalar(text)}  # a comment"

    assert YAML(typ="safe", pure=True).load(line) == {"key": text}
