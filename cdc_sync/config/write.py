"""Writes a config.yaml: the given keys, and every other one as a comment with its default.

Keys, defaults and words come from the model, so that the file cannot say what does not hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from cdc_sync.config.load import SECTIONS
from cdc_sync.config.model import Config, Section

_COLUMN = 34  # where comments begin
_WIDTH = 100
_UNBROKEN = 1_000_000  # columns, so that YAML stays on its line
_HEADER = """\
# The configuration of cdc-sync, as `cdc-sync init` wrote it. Look at it with: cdc-sync check
#
# What is behind a `#` is the default: take the `# ` away from the key and from its section's
# name to change it. ${NAME} is an environment variable, ${file:PATH} a file's content. The JSON
# Schema, for editors: cdc-sync config schema
"""
WrittenSections = Mapping[str, Mapping[str, object]]
_FORM = {"type": "string", "pattern": r"\$\{"}
_NULL = {"type": "null"}


def render(given: WrittenSections) -> str:
    """Returns the text of a configuration with these keys, in the order of the model."""
    blocks = [_section_lines(name, model, given.get(name, {})) for name, model in SECTIONS.items()]
    return "\n".join([_HEADER, *("\n".join(block) + "\n" for block in blocks)])


def count_set_lines(text: str) -> int:
    """Counts the lines that are neither empty nor a comment."""
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _section_lines(name: str, model: type[Section], given: Mapping[str, object]) -> Sequence[str]:
    mark = "" if given else "# "
    words = " ".join((model.__doc__ or "").split())
    defaults = model.model_construct().model_dump(mode="json")
    lines = [f"# {words}", f"{mark}{name}:"]
    for key, field in model.model_fields.items():
        about = field.description or ""
        if key in given:
            lines += _key_lines("  ", key, given[key], about)
        else:
            lines += _key_lines(f"{mark}  " if mark else "  # ", key, defaults.get(key), about)
    return lines


def _key_lines(indent: str, key: str, value: object, about: str) -> Iterator[str]:
    line = f"{indent}{key}: {scalar(value)}"
    whole = f"{line:<{_COLUMN - 1}} # {about}"
    if len(whole) <= _WIDTH:
        yield whole
    else:
        yield f"  # {about}" if indent.startswith(" ") else f"{indent}# {about}"
        yield line


def scalar(value: object) -> str:
    """Returns a value as YAML on one line, without quotes where that reads back as the same."""
    return _dump(value, flow=True).removesuffix("\n...")


def as_yaml(document: dict[str, Any]) -> str:
    """Returns the document as YAML in the style of config.yaml."""
    return _dump(document, flow=False)


def _dump(value: object, *, flow: bool) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    yaml.width = _UNBROKEN
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # its stub says None
    text = StringIO()
    yaml.dump(value, text)
    return text.getvalue().rstrip("\n")


def config_schema() -> dict[str, Any]:
    """Returns the JSON Schema of config.yaml, in the forms that people write (`15s`, `none`)."""
    schema = Config.model_json_schema(mode="validation")
    for name, section in SECTIONS.items():
        written = schema["$defs"][section.__name__]
        defaults = section.model_construct().model_dump(mode="json")
        written["properties"] = {
            key: _written_schema(
                form, defaults.get(key), required=key in written.get("required", [])
            )
            for key, form in written["properties"].items()
        }
        written["title"] = name
        schema["properties"][name].pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "cdc-sync configuration",
    }


def _written_schema(form: dict[str, Any], default: object, *, required: bool) -> dict[str, Any]:
    """Returns a key's schema that also takes `${…}`, and null where the key is optional."""
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
