"""The JSON Schema and the written form of a configuration are complete and have no secret."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from cdc_sync.config.load import SECTIONS, load_config
from cdc_sync.config.write import config_schema

pytestmark = pytest.mark.quick

EXAMPLE = Path(__file__).parents[2] / "config.yaml"
SECRET = """\
source: {url: "postgresql://reader:hunter2@db/erp?sslpassword=hunter2", table: t, id: id, watermark: w, lookback: 7}
mapping: {reference: "erp-{id}", account: name, start: start}
customergauge: {region: us, client_id: client, client_secret: hunter2, rate_limit: 90/m}
state: {url: "postgresql://${USER}:${PASSWORD}@db/state"}
web: {token: hunter2, listen: none}
alerts: {urls: ["mailto://me:hunter2@example.com"]}
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(SECRET)
    return load_config(file, {"USER": "us@er", "PASSWORD": "hunter2"})


def test_nothing_secret_is_in_any_form_of_the_configuration(config):
    forms = [
        repr(config),
        str(config),
        json.dumps(config.model_dump(mode="json")),
        config.model_dump_json(),
    ]
    forms += [repr(config.source), str(config.customergauge), repr(config.model_dump())]

    assert not [form for form in forms if "hunter2" in form]


def test_the_effective_configuration_is_in_the_form_that_people_write(config):
    shown = config.model_dump(mode="json")

    assert shown["source"]["url"] == "postgresql+psycopg://reader:***@db/erp?sslpassword=***"
    assert (shown["source"]["id"], shown["source"]["lookback"]) == ("id", 7)
    assert shown["state"] == {"url": "postgresql+psycopg://us%40er:***@db/state", "history": "90d"}
    assert shown["customergauge"]["client_secret"] == "***"
    assert shown["customergauge"]["rate_limit"] == "90/m"
    assert shown["web"] == {"listen": "none", "token": "***"}
    assert shown["alerts"] == {"urls": ["***"], "after": "10m"}
    assert shown["guard"] == {"max_changes": "20%", "min_contracts": 100}
    assert shown["schedule"] == {"poll": "15s", "reconcile": "0 3 * * *"}


def test_the_effective_example_is_valid_and_means_the_same(tmp_path):
    shown = load_config(EXAMPLE, {}).model_dump(mode="json")
    Draft202012Validator(config_schema()).validate(shown)
    file = tmp_path / "config.yaml"
    with file.open("w") as stream:
        YAML(typ="safe").dump(shown, stream)

    assert load_config(file, {}).model_dump(mode="json") == shown


def test_the_example_is_valid_and_has_every_key():
    written = YAML(typ="safe").load(EXAMPLE)
    Draft202012Validator(config_schema()).validate(written)

    keys = {name: list(section.model_fields) for name, section in SECTIONS.items()}
    assert {name: list(section) for name, section in written.items()} == keys


def test_the_example_has_the_documented_defaults_where_it_says_nothing_else():
    written = YAML(typ="safe").load(EXAMPLE)
    differs = {
        f"{name}.{key}"
        for name, section in SECTIONS.items()
        for key, default in section.model_construct().model_dump(mode="json").items()
        if written[name][key] != default
    }

    assert differs == {
        "source.table", "source.deleted_when", "mapping.end", "mapping.description",
        "customergauge.base_url", "customergauge.token_url", "customergauge.rate_limit",
        "state.url", "schedule.poll", "web.token",
    }  # fmt: skip


def test_the_schema_describes_every_key_and_forbids_others():
    schema = config_schema()
    Draft202012Validator.check_schema(schema)

    assert schema["additionalProperties"] is False
    for section in schema["$defs"].values():
        assert section["additionalProperties"] is False
        assert all(key["description"] for key in section["properties"].values())


@pytest.mark.parametrize(
    ("place", "value", "valid"),
    [
        ("schedule.poll", "15s", True),
        ("schedule.poll", "${POLL:-15s}", True),
        ("schedule.poll", None, True),
        ("schedule.poll", "15", False),
        ("schedule.poll", 15, False),
        ("source.id", ["a", "b"], True),
        ("source.id", None, False),
        ("source.lookback", 100, True),
        ("source.page_size", 0, False),
        ("source.page_size", "${SIZE}", True),
        ("customergauge.rate_limit", "none", True),
        ("customergauge.rate_limit", "20", False),
        ("customergauge.region", "de", False),
        ("guard.max_changes", "20%", True),
        ("guard.max_changes", 0.2, False),
        ("guard.min_contract", 5, False),
    ],
)
def test_an_editor_knows_right_from_wrong_by_the_schema(place, value, valid):
    written = YAML(typ="safe").load(EXAMPLE)
    section, key = place.split(".")
    written[section][key] = value

    assert Draft202012Validator(config_schema()).is_valid(written) is valid


def test_the_example_names_its_schema_in_its_first_line():
    first = EXAMPLE.read_text().partition("\n")[0]

    assert re.fullmatch(r"# yaml-language-server: \$schema=config\.schema\.json", first)
