"""Finds config.yaml, puts in `${…}`, checks it; every mistake is told at once, with its line."""

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
    """`given`, else $CDC_SYNC_CONFIG, else ./config.yaml, else the one in /etc/cdc-sync.

    Raises ConfigMistake where the file is not there.
    """
    if given is not None:
        return _existing(given, "which --config names")
    if named := environ.get(VARIABLE):
        return _existing(Path(named), f"which ${VARIABLE} names")
    for place in PLACES:
        if place.is_file():
            return place
    raise ConfigMistake(
        f"There is no configuration: looked for ./{PLACES[0]} and {PLACES[1]}.",
        hint=f"Write one with `cdc-sync init`, or name a file with --config or ${VARIABLE}.",
    )


def load_config(path: Path, environ: Mapping[str, str], *, secrets: bool = True) -> Config:
    """The configuration of a file. Raises ConfigMistake with every mistake, one a line.

    Without `secrets`, a variable or file that is missing is no mistake in source.url, client_id,
    client_secret, web.token and alerts.urls: the first three become empty, the others are left
    out. For commands that need only the state.
    """
    document = read_document(path)
    interpolator = Interpolator(environ, path.absolute().parent)
    reading = _Reading(document, interpolator, secrets=secrets)
    given = reading.values()
    try:
        config = Config.model_validate(given)
    except ValidationError as error:
        reading.add_errors(error, given)
    if reading.mistakes:
        raise ConfigMistake("\n".join(reading.told()))
    return config


def _existing(path: Path, named_by: str) -> Path:
    if path.is_file():
        return path
    said = "is a folder" if path.is_dir() else "is not there"
    raise ConfigMistake(
        f"{path}, {named_by}, {said}.", hint="Correct the path, or create the file."
    )


@dataclass(frozen=True, slots=True)
class Document:
    """The sections of a file, as YAML gave them; `path` is the file as the user named it."""

    path: Path
    sections: CommentedMap

    def line(self, *place: str | int) -> int | None:
        """The line of a key or a list's item, from 1; of what holds it, where it is not there."""
        node: Any = self.sections
        line = None
        for step in place:
            key = _own_key(node, step)
            found = _position(node, key)
            if found is None:
                return line
            line, node = found + 1, node[key]
        return line

    def says(self, sentence: str, line: int | None) -> str:
        """A mistake as it is told: file, line, sentence."""
        return f"{self.path}, line {line}: {sentence}" if line else f"{self.path}: {sentence}"


@dataclass(slots=True)
class _Reading:
    """One file on its way to a Config, with the mistakes found so far."""

    document: Document
    interpolator: Interpolator
    secrets: bool = field(kw_only=True)
    mistakes: list[tuple[int, str]] = field(default_factory=list)
    failed: set[tuple[str, str]] = field(default_factory=set)

    def values(self) -> dict[str, Any]:
        """The sections with every form resolved; what is null or empty is left out."""
        found: dict[str, Any] = {}
        for name, section in self.document.sections.items():
            if isinstance(section, dict):
                found[str(name)] = self._section(str(name), section)
            elif section is not None or name not in Config.model_fields:
                found[str(name)] = section
        return found

    def _section(self, name: str, section: Mapping[Any, Any]) -> dict[str, Any]:
        resolved = {str(key): self._value((name, str(key)), raw) for key, raw in section.items()}
        known = SECTIONS[name].model_fields if name in SECTIONS else {}
        return {k: value for k, value in resolved.items() if value is not None or k not in known}

    def _value(self, place: tuple[str, str], raw: object) -> object:
        if not isinstance(raw, list):
            return self._scalar(place, raw, place)
        items = [self._scalar(place, item, (*place, index)) for index, item in enumerate(raw)]
        # An item that a form has made empty is left out, as a key would be.
        return [item for item, given in zip(items, raw, strict=True) if given is None or item]

    def _scalar(
        self, place: tuple[str, str], raw: object, position: tuple[str | int, ...]
    ) -> object:
        if not isinstance(raw, str):
            return _plain(raw)
        try:
            text = self._text(place, raw)
        except ValueError as error:
            if not self._may_stay_open(place, error):
                self._add(f"`{'.'.join(place)}` {error}", *position)
                self.failed.add(place)
                return None
            text = ""
        if not text and not self.secrets and place in _CREDENTIALS:
            return ""
        return text or None

    def _may_stay_open(self, place: tuple[str, str], error: ValueError) -> bool:
        return not self.secrets and place in _SECRETS and isinstance(error, UnresolvedError)

    def _text(self, place: tuple[str, str], raw: str) -> str:
        if place not in _URLS:
            return self.interpolator.interpolate(raw)
        return with_absolute_path(self.interpolator.interpolate_url(raw), self.interpolator.folder)

    def add_errors(self, error: ValidationError, given: Mapping[str, Any]) -> None:
        """Adds what the model says, but for what only follows from a form that failed."""
        sections_with_errors = {name for name, _ in self.failed}
        for detail in error.errors(include_url=False, include_input=False):
            place = detail["loc"]
            if len(place) > 1:
                sections_with_errors.add(str(place[0]))
            if self._follows_from_a_failure(place):
                continue
            self._add(describe_error(detail, present=self._is_present(place)), *place)
        self._add_broken_rules(sections_with_errors, given)

    def _follows_from_a_failure(self, place: tuple[str | int, ...]) -> bool:
        if len(place) == 1:
            return any(place[0] == section for section, _ in self.failed)
        return place[:2] in self.failed

    def _add_broken_rules(self, names: set[str], given: Mapping[str, Any]) -> None:
        """The model judges a section's rule only where all of its keys are well."""
        for name in names & set(SECTIONS):
            section = given.get(name)
            if isinstance(section, dict):
                keys = set(section) | {key for failing, key in self.failed if failing == name}
                if broken := SECTIONS[name].broken_rule(keys):
                    self._add(f"`{name}` {broken}", name)

    def _is_present(self, place: tuple[str | int, ...]) -> bool:
        section = self.document.sections.get(place[0])
        return isinstance(section, dict) and len(place) > 1 and place[1] in section

    def _add(self, sentence: str, *position: str | int) -> None:
        line = self.document.line(*position)
        self.mistakes.append((line or 0, self.document.says(sentence, line)))

    def told(self) -> list[str]:
        """The mistakes in the order of their lines."""
        return [sentence for _, sentence in sorted(self.mistakes, key=lambda found: found[0])]


def _plain(value: object) -> object:
    """A YAML scalar without the dress that keeps its spelling."""
    if isinstance(value, ScalarBoolean):
        return bool(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def read_document(path: Path) -> Document:
    """Reads a file. Raises ConfigMistake where it cannot be read or is no mapping of sections."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigMistake(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigMistake(
            f"{path} cannot be read ({error.strerror}).",
            hint="Name the file with --config, or let this user read it.",
        ) from None
    return Document(path, _sections(path, text))


def _sections(path: Path, text: str) -> CommentedMap:
    try:
        top = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        raise ConfigMistake(_duplicate(path, error)) from None
    except YAMLError as error:
        raise ConfigMistake(
            _broken(path, error),
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


def _duplicate(path: Path, error: DuplicateKeyError) -> str:
    key = str(error.problem).partition('"')[2].partition('"')[0]
    line = error.problem_mark.line + 1
    return f"{path}, line {line}: `{key}` is there twice. Keep one of them."


def _broken(path: Path, error: YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or "it cannot be read"
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{path}{place}: this is not YAML: {problem.strip().rstrip('.')}."


def _own_key(node: Any, step: str | int) -> Any:
    """The key as YAML has it, which may be a number where we speak of it as text."""
    return next((key for key in node if str(key) == step), step) if isinstance(node, dict) else step


def _position(node: Any, step: Any) -> int | None:
    """The line, from 0, of a key or an item of the node; None where it has none."""
    try:
        if isinstance(node, CommentedMap):
            return int(node.lc.key(step)[0])
        if isinstance(node, CommentedSeq):
            return int(node.lc.item(step)[0])
    except (KeyError, TypeError, AttributeError):
        pass
    return None


def describe_error(error: Mapping[str, Any], *, present: bool) -> str:
    """One validation error as a sentence; `present`: the key is in the file, if without a value."""
    place = tuple(str(step) for step in error["loc"][:2])
    key = f"`{'.'.join(place)}`"
    match error["type"]:
        case "missing":
            return _missing(place, present=present)
        case "extra_forbidden":
            return unknown(place)
        case "value_error":
            text = str(error["ctx"]["error"])
            return f"{key} {text}" if text[0].islower() else f"{key}: {text}"
        case kind:
            phrase = _PHRASES.get(kind, _PHRASE).format_map(error.get("ctx", {}))
            return f"{key} {phrase}".replace("'", "`")


def unknown(place: tuple[str, ...]) -> str:
    """That a key is none of ours, with the nearest that is."""
    said = f"`{'.'.join(place)}` is not a key."
    name = place[-1]
    siblings = list(SECTIONS) if len(place) == 1 else list(SECTIONS[place[0]].model_fields)
    parent = "" if len(place) == 1 else f"{place[0]}."
    if near := get_close_matches(name, siblings, n=1):
        return f"{said} Did you mean `{parent}{near[0]}`?"
    if elsewhere := [key for key in _every_key() if key.endswith(f".{name}")]:
        return f"{said} Did you mean `{elsewhere[0]}`?"
    where = f"`{place[0]}` has" if parent else "There are"
    return f"{said} {where} {_listed(siblings)}."


def _every_key() -> Iterable[str]:
    return (f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields)


def _missing(place: tuple[str, ...], *, present: bool) -> str:
    section = SECTIONS[place[0]].model_fields
    if len(place) == 1:
        required = [key for key, field in section.items() if field.is_required()]
        return f"the section `{place[0]}` is missing. It needs at least {_listed(required)}."
    examples = section[place[1]].examples or []
    return (
        f"`{'.'.join(place)}` {'has no value' if present else 'is missing'}. "
        f"Write for example `{place[1]}: {examples[0]}`."
    )


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)
