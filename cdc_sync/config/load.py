"""Finds, reads and checks config.yaml; all mistakes are reported at once, each with its line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from cdc_sync.config.interpolate import Interpolator
from cdc_sync.config.model import Config, Section
from cdc_sync.errors import ConfigMistake
from cdc_sync.files import is_hidden_or

VARIABLE = "CDC_SYNC_CONFIG"
PLACES = (Path("config.yaml"), Path("/etc/cdc-sync/config.yaml"))
SECTIONS: dict[str, type[Section]] = {
    name: cast("type[Section]", field.annotation) for name, field in Config.model_fields.items()
}
_PHRASES = {
    "literal_error": "must be {expected}.",
    "greater_than_equal": "must be at least `{ge}`.",
    "less_than_equal": "must be at most `{le}`.",
    "string_too_short": "is empty.",
    "model_type": "must be a section: keys of its own, indented below it.",
}
_PHRASE = "has a value that cannot be used here."


def find_config(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Returns `given`, else $CDC_SYNC_CONFIG, ./config.yaml, or the one in /etc/cdc-sync.

    Raises ConfigMistake where the file is not there.
    """
    if given is not None:
        return _expect_file(given, "which --config names")
    if named := environ.get(VARIABLE):
        return _expect_file(Path(named), f"which ${VARIABLE} names")
    for place in PLACES:
        if is_hidden_or(place.is_file):
            return place
    raise ConfigMistake(
        f"There is no configuration: looked for ./{PLACES[0]} and {PLACES[1]}.",
        hint=f"Write one with `cdc-sync init`, or name a file with --config or ${VARIABLE}.",
    )


def _expect_file(path: Path, named_by: str) -> Path:
    if is_hidden_or(path.is_file):
        return path
    said = "is a folder" if path.is_dir() else "is not there"
    raise ConfigMistake(
        f"{path}, {named_by}, {said}.", hint="Correct the path, or create the file."
    )


def load_config(path: Path, environ: Mapping[str, str], *, secrets: bool = True) -> Config:
    """Returns the configuration of a file. Raises ConfigMistake with every mistake, one a line.

    Without `secrets`, a variable or file that is missing is no mistake in source.url, client_id,
    client_secret, web.token and alerts.urls: the first three become empty, the others are left
    out. For commands that need only the state.
    """
    file = _read_file(path)
    interpolator = Interpolator(environ, path.absolute().parent, secrets)
    try:
        return Config.model_validate(file.sections, context=interpolator)
    except ValidationError as error:
        raise ConfigMistake("\n".join(_describe_mistakes(file, error))) from None


@dataclass(frozen=True, slots=True)
class _File:
    """A configuration as YAML gave it; `path` is as the user named it."""

    path: Path
    sections: dict[str, Any]
    root: Node  #: of the same text, with its lines

    def line(self, place: Iterable[str | int]) -> int:
        """Returns the line of a key or a list's item, from 1; of its parent where it is absent.

        0 where the parent is the whole file.
        """
        node, line = self.root, 0
        for step in place:
            found = _children(node).get(str(step))
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line


def _children(node: Node) -> dict[str, tuple[Node, Node]]:
    """Returns the values of a mapping or a list, each with the node at whose line it begins."""
    if isinstance(node, MappingNode):
        return {str(key.value): (key, value) for key, value in node.value}
    items = node.value if isinstance(node, SequenceNode) else ()
    return {str(index): (item, item) for index, item in enumerate(items)}


def _read_file(path: Path) -> _File:
    """Reads a file. Raises ConfigMistake where it is no YAML mapping of sections."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigMistake(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigMistake(
            f"{path} cannot be read ({error.strerror}).",
            hint="Name the file with --config, or let this user read it.",
        ) from None
    root, sections = _parse_yaml(path, text)
    if sections is None:
        raise ConfigMistake(
            f"{path} is empty.", hint="Start from the example config.yaml of cdc-sync."
        )
    if not isinstance(sections, dict):
        kind = "a list" if isinstance(sections, list) else "a single value"
        raise ConfigMistake(
            f"{path}, line 1: the file must hold sections such as `source:`, not {kind}."
        )
    return _File(path, sections, root)


def _parse_yaml(path: Path, text: str) -> tuple[Node, Any]:
    # The safe loader gives plain values without lines, the nodes have the lines.
    yaml = YAML(typ="safe", pure=True)
    try:
        return yaml.compose(text), yaml.load(text)
    except DuplicateKeyError as error:
        key = str(error.problem).partition('"')[2].partition('"')[0]
        line = error.problem_mark.line + 1
        raise ConfigMistake(
            f"{path}, line {line}: `{key}` is there twice.", hint="Keep one of them."
        ) from None
    except YAMLError as error:
        raise ConfigMistake(
            _describe_yaml_error(path, error),
            hint="Look at the indentation, quotes and colons there and on the line before.",
        ) from None
    except ValueError as error:
        raise ConfigMistake(
            f"{path}: a value looks like a date and is none ({error}).",
            hint="Put quotes around it.",
        ) from None
    except TypeError:
        raise ConfigMistake(
            f"{path}: a key is a list or a section.", hint="Write plain names before the colons."
        ) from None


def _describe_yaml_error(path: Path, error: YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or "it cannot be read"
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{path}{place}: this is not YAML: {problem.strip().rstrip('.')}."


def _describe_mistakes(file: _File, error: ValidationError) -> list[str]:
    """Returns every mistake in the order of the lines."""
    details = error.errors(include_url=False, include_input=False)
    mistakes = [(file.line(detail["loc"]), describe_error(detail)) for detail in details]
    # The model checks a section's rule only where all of its keys are valid.
    failed = [str(detail["loc"][0]) for detail in details if len(detail["loc"]) > 1]
    for name in dict.fromkeys(failed):
        given = {key for key, value in file.sections[name].items() if value not in (None, "")}
        if broken := SECTIONS[name].broken_rule(given):
            mistakes.append((file.line((name,)), f"`{name}` {broken}"))
    return [
        f"{file.path}, line {line}: {sentence}" if line else f"{file.path}: {sentence}"
        for line, sentence in sorted(mistakes, key=itemgetter(0))
    ]


def describe_error(error: ErrorDetails) -> str:
    """Returns a validation error as a sentence."""
    place = tuple(str(step) for step in error["loc"][:2])
    key, context = f"`{'.'.join(place)}`", error.get("ctx", {})
    match error["type"]:
        case "missing":
            return _describe_missing_key(place, present="present" in context)
        case "extra_forbidden" | "invalid_key":
            return _describe_unknown_key(place)
        case "value_error":
            text = str(context["error"])
            return f"{key} {text}" if text[0].islower() else f"{key}: {text}"
        case kind:
            phrase = _PHRASES.get(kind, _PHRASE).format_map(context)
            return f"{key} {phrase}".replace("'", "`")


def _describe_unknown_key(place: tuple[str, ...]) -> str:
    said = f"`{'.'.join(place)}` is not a key."
    name = place[-1]
    siblings = list(SECTIONS) if len(place) == 1 else list(SECTIONS[place[0]].model_fields)
    parent = "" if len(place) == 1 else f"{place[0]}."
    if near := get_close_matches(name, siblings, n=1):
        return f"{said} Did you mean `{parent}{near[0]}`?"
    if elsewhere := [key for key in _every_key() if key.endswith(f".{name}")]:
        return f"{said} Did you mean `{elsewhere[0]}`?"
    where = f"`{place[0]}` has" if parent else "There are"
    return f"{said} {where} {_list_keys(siblings)}."


def _every_key() -> Iterable[str]:
    return (f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields)


def _describe_missing_key(place: tuple[str, ...], *, present: bool) -> str:
    section = SECTIONS[place[0]].model_fields
    if len(place) == 1:
        required = [key for key, field in section.items() if field.is_required()]
        return f"the section `{place[0]}` is missing. It needs at least {_list_keys(required)}."
    examples = section[place[1]].examples or []
    return (
        f"`{'.'.join(place)}` {'has no value' if present else 'is missing'}. "
        f"Write for example `{place[1]}: {examples[0]}`."
    )


def _list_keys(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)
