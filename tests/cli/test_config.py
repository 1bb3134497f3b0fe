"""config schema and show, as a process."""

from tests.support.bench import Bench


def test_the_schema_is_a_json_schema(fresh: Bench) -> None:
    schema = fresh.run("config", "schema").document

    assert schema["title"] == "cdc-sync configuration"
    assert "source" in schema["properties"]


def test_the_effective_configuration_is_shown_with_defaults_and_without_secrets(
    fresh: Bench,
) -> None:
    ran = fresh.run("config", "show")
    document = fresh.run("config", "show", "--json").document

    assert f"# {fresh.config}" in ran.out
    assert "client_secret: '***'" in ran.out
    assert "reconcile: 0 3 * * *" in ran.out
    assert document["customergauge"]["client_secret"] == "***"
    assert document["schedule"]["poll"] == "15s"


def test_a_secret_that_is_missing_is_a_mistake(fresh: Bench) -> None:
    text = fresh.config.read_text()
    fresh.config.write_text(
        text.replace('"client_secret": "sandbox"', '"client_secret": "${NOT_SET}"')
    )

    ran = fresh.run("config", "show")

    assert ran.code == 2
    assert "NOT_SET" in ran.err


def test_an_unknown_key_is_a_mistake_without_a_value_too(fresh: Bench) -> None:
    text = fresh.config.read_text()
    fresh.config.write_text(text.rstrip().removesuffix("}") + ', "guards": null}')

    assert fresh.run("config", "show").code == 2
