"""Finds, reads and checks config.yaml; all mistakes are reported at once, each with its line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from cdc_sync.config.interpolate import Interpolator, UnresolvedError
from cdc_sync.config.model import Config, Section
from cdc_sync.config.urls import with_absolute_path
from cdc_sync.errors import ConfigMistake

VARIABLE = "CDC_SYNC_CONFIG"
PLACES = (Path("config.yaml"), Path("/etc/cdc-sync/config.yaml"))
_URLS = {("source", "url"), ("state", "url")}
_CREDENTIALS = {
    ("source", "url"),
    ("customergauge", "client_id"),
    ("customergauge", "client_secret"),
}
_SECRETS = _CREDENTIALS | {("web", "token"), ("alerts", "urls")}
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
        if place.is_file():
            return place
    raise ConfigMistake(
        f"There is no configuration: looked for ./{PLACES[0]} and {PLACES[1]}.",
        hint=f"Write one with `cdc-sync init`, or name a file with --config or ${VARIABLE}.",
    )


def _expect_file(path: Path, named_by: str) -> Path:
    if path.is_file():
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
    interpolator = Interpolator(environ, path.absolute().parent)
    reader = _Reader(_read_document(path), interpolator, secrets=secrets)
    given = reader.resolve_sections()
    try:
        config = Config.model_validate(given)
    except ValidationError as error:
        reader.add_errors(error, given)
    if reader.mistakes:
        raise ConfigMistake("\n".join(reader.mistakes_by_line()))
    return config


@dataclass(frozen=True, slots=True)
class _Document:
    """The sections of a file, as YAML gave them; `path` is the file as the user named it."""

    path: Path
    sections: CommentedMap

    def line(self, *place: str | int) -> int | None:
        """Returns the line of a key or a list's item, from 1; of its parent where it is absent."""
        node: Any = self.sections
        line = None
        for step in place:
            key = _yaml_key(node, step)
            found = _line_index(node, key)
            if found is None:
                return line
            line, node = found + 1, node[key]
        return line

    def locate(self, sentence: str, line: int | None) -> str:
        """Puts file and line before a sentence about a mistake."""
        return f"{self.path}, line {line}: {sentence}" if line else f"{self.path}: {sentence}"


def _yaml_key(node: Any, step: str | int) -> Any:
    """Returns the key as YAML has it, which may be a number where ours is a text."""
    return next((key for key in node if str(key) == step), step) if isinstance(node, dict) else step


def _line_index(node: Any, step: Any) -> int | None:
    """Returns the line, from 0, of a key or an item of the node; None where it has none."""
    try:
        if isinstance(node, CommentedMap):
            return int(node.lc.key(step)[0])
        if isinstance(node, CommentedSeq):
            return int(node.lc.item(step)[0])
    except (KeyError, TypeError, AttributeError):
        pass
    return None


def _read_document(path: Path) -> _Document:
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
    return _Document(path, _parse_sections(path, text))


def _parse_sections(path: Path, text: str) -> CommentedMap:
    try:
        top = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        raise ConfigMistake(_describe_duplicate(path, error)) from None
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
    if top is None:
        raise ConfigMistake(
            f"{path} is empty.", hint="Start from the example config.yaml of cdc-sync."
        )
    if not isinstance(top, CommentedMap):
        raise ConfigMistake(
            f"{path}, line 1: the file must hold sections such as `source:`, "
            f"not {'a list' if isinstance(top, CommentedSeq) else 'a single value'}."
        )
    return top


def _describe_duplicate(path: Path, error: DuplicateKeyError) -> str:
    key = str(error.problem).partition('"')[2].partition('"')[0]
    line = error.problem_mark.line + 1
    return f"{path}, line {line}: `{key}` is there twice. Keep one of them."


def _describe_yaml_error(path: Path, error: YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or "it cannot be read"
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{path}{place}: this is not YAML: {problem.strip().rstrip('.')}."


@dataclass(slots=True)
class _Reader:
    """Resolves the forms of a file's values, and collects its mistakes."""

    document: _Document
    interpolator: Interpolator
    secrets: bool = field(kw_only=True)
    mistakes: list[tuple[int, str]] = field(default_factory=list)
    unresolved: set[tuple[str, str]] = field(default_factory=set)

    def resolve_sections(self) -> dict[str, Any]:
        """Returns the sections with every form resolved, without what is null or empty."""
        found: dict[str, Any] = {}
        for name, section in self.document.sections.items():
            if isinstance(section, dict):
                found[str(name)] = self._resolve_section(str(name), section)
            elif section is not None or name not in Config.model_fields:
                found[str(name)] = section
        return found

    def _resolve_section(self, name: str, section: Mapping[Any, Any]) -> dict[str, Any]:
        resolved = {
            str(key): self._resolve_value((name, str(key)), raw) for key, raw in section.items()
        }
        known = SECTIONS[name].model_fields if name in SECTIONS else {}
        return {k: value for k, value in resolved.items() if value is not None or k not in known}

    def _resolve_value(self, place: tuple[str, str], raw: object) -> object:
        if not isinstance(raw, list):
            return self._resolve_scalar(place, raw, place)
        items = [
            self._resolve_scalar(place, item, (*place, index)) for index, item in enumerate(raw)
        ]
        # An item that a form has made empty is left out, as a key would be.
        return [item for item, given in zip(items, raw, strict=True) if given is None or item]

    def _resolve_scalar(
        self, place: tuple[str, str], raw: object, position: tuple[str | int, ...]
    ) -> object:
        if not isinstance(raw, str):
            return _unwrap_scalar(raw)
        try:
            text = self._interpolate(place, raw)
        except ValueError as error:
            if not self._may_be_unresolved(place, error):
                self._add_mistake(f"`{'.'.join(place)}` {error}", *position)
                self.unresolved.add(place)
                return None
            text = ""
        if not text and not self.secrets and place in _CREDENTIALS:
            return ""
        return text or None

    def _may_be_unresolved(self, place: tuple[str, str], error: ValueError) -> bool:
        return not self.secrets and place in _SECRETS and isinstance(error, UnresolvedError)

    def _interpolate(self, place: tuple[str, str], raw: str) -> str:
        if place not in _URLS:
            return self.interpolator.interpolate(raw)
        return with_absolute_path(self.interpolator.interpolate_url(raw), self.interpolator.folder)

    def add_errors(self, error: ValidationError, given: Mapping[str, Any]) -> None:
        """Adds the model's errors, except those that only follow from an unresolved form."""
        sections_with_errors = {name for name, _ in self.unresolved}
        for detail in error.errors(include_url=False, include_input=False):
            place = detail["loc"]
            if len(place) > 1:
                sections_with_errors.add(str(place[0]))
            if self._follows_from_failure(place):
                continue
            self._add_mistake(describe_error(detail, present=self._is_in_file(place)), *place)
        self._add_broken_rules(sections_with_errors, given)

    def _follows_from_failure(self, place: tuple[str | int, ...]) -> bool:
        if len(place) == 1:
            return any(place[0] == section for section, _ in self.unresolved)
        return place[:2] in self.unresolved

    def _add_broken_rules(self, names: set[str], given: Mapping[str, Any]) -> None:
        # The model checks a section's rule only where all of its keys are valid.
        for name in names & set(SECTIONS):
            section = given.get(name)
            if isinstance(section, dict):
                keys = set(section) | {key for failing, key in self.unresolved if failing == name}
                if broken := SECTIONS[name].broken_rule(keys):
                    self._add_mistake(f"`{name}` {broken}", name)

    def _is_in_file(self, place: tuple[str | int, ...]) -> bool:
        section = self.document.sections.get(place[0])
        return isinstance(section, dict) and len(place) > 1 and place[1] in section

    def _add_mistake(self, sentence: str, *position: str | int) -> None:
        line = self.document.line(*position)
        self.mistakes.append((line or 0, self.document.locate(sentence, line)))

    def mistakes_by_line(self) -> list[str]:
        """Returns the mistakes in the order of their lines."""
        return [sentence for _, sentence in sorted(self.mistakes, key=lambda found: found[0])]


def _unwrap_scalar(value: object) -> object:
    """Returns a plain value for a YAML scalar of a type that keeps its spelling."""
    if isinstance(value, ScalarBoolean):
        return bool(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def describe_error(error: Mapping[str, Any], *, present: bool) -> str:
    """Returns a validation error as a sentence.

    `present`: the key is in the file, if without a value.
    """
    place = tuple(str(step) for step in error["loc"][:2])
    key = f"`{'.'.join(place)}`"
    match error["type"]:
        case "missing":
            return _describe_missing_key(place, present=present)
        case "extra_forbidden":
            return _describe_unknown_key(place)
        case "value_error":
            text = str(error["ctx"]["error"])
            return f"{key} {text}" if text[0].islower() else f"{key}: {text}"
        case kind:
            phrase = _PHRASES.get(kind, _PHRASE).format_map(error.get("ctx", {}))
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
