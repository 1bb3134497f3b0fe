"""The configuration for people and editors: its JSON Schema, and what is in force."""

from typing import Any

from cdc_sync.config.mistakes import SECTIONS
from cdc_sync.config.model import Config

_FORM = {"type": "string", "pattern": r"\$\{"}
_NULL = {"type": "null"}


def config_schema() -> dict[str, Any]:
    """The JSON Schema of config.yaml, in the forms that people write (`15s`, `20/s`, `none`)."""
    schema = Config.model_json_schema(mode="validation")
    for name, section in SECTIONS.items():
        written = schema["$defs"][section.__name__]
        defaults = section.model_construct().model_dump(mode="json")
        written["properties"] = {
            key: _as_written(form, defaults.get(key), required=key in written.get("required", []))
            for key, form in written["properties"].items()
        }
        written["title"] = name
        schema["properties"][name].pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "cdc-sync configuration",
    }


def effective(config: Config) -> dict[str, Any]:
    """What is in force, as it would be written, ready for YAML or JSON; every secret is `***`."""
    return config.model_dump(mode="json")


def _as_written(form: dict[str, Any], default: object, *, required: bool) -> dict[str, Any]:
    """A key's schema that also takes `${…}`, and null where the key may be left out."""
    about: dict[str, Any] = {key: form[key] for key in form if key in {"description", "examples"}}
    if default is not None:
        about["default"] = default
    kind = {key: form[key] for key in form if key not in {*about, "title", "default"}}
    choices = [choice for choice in kind.get("anyOf", [kind]) if choice != _NULL]
    if any(choice != {"type": "string"} for choice in choices):
        choices.append(_FORM)
    if not required:
        choices.append(_NULL)
    return {**about, **(choices[0] if len(choices) == 1 else {"anyOf": choices})}
