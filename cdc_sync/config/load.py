"""Finds config.yaml, puts in `${…}`, checks it; every mistake is told at once, with its line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.scalarbool import ScalarBoolean

from cdc_sync.config.document import Document, read_document
from cdc_sync.config.interpolate import Surroundings, UnresolvedError
from cdc_sync.config.mistakes import SECTIONS, sentence_of
from cdc_sync.config.model import Config
from cdc_sync.config.urls import anchored
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
        mend=f"Write one with `cdc-sync init`, or name a file with --config or ${VARIABLE}.",
    )


def load_config(path: Path, environ: Mapping[str, str], *, secrets: bool = True) -> Config:
    """The configuration of a file. Raises ConfigMistake with every mistake, one a line.

    Without `secrets`, a variable or file that is missing is no mistake in source.url, client_id,
    client_secret, web.token and alerts.urls: the first three become empty, the others are left
    out. For commands that need only the state.
    """
    document = read_document(path)
    surroundings = Surroundings(environ, path.absolute().parent)
    reading = _Reading(document, surroundings, secrets=secrets)
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
        f"{path}, {named_by}, {said}.", mend="Correct the path, or create the file."
    )


@dataclass(slots=True)
class _Reading:
    """One file on its way to a Config, with the mistakes found so far."""

    document: Document
    surroundings: Surroundings
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
            return self.surroundings.interpolate(raw)
        return anchored(self.surroundings.interpolate_url(raw), self.surroundings.folder)

    def add_errors(self, error: ValidationError, given: Mapping[str, Any]) -> None:
        """Adds what the model says, but for what only follows from a form that failed."""
        sections_with_errors = {name for name, _ in self.failed}
        for detail in error.errors(include_url=False, include_input=False):
            place = detail["loc"]
            if len(place) > 1:
                sections_with_errors.add(str(place[0]))
            if self._follows_from_a_failure(place):
                continue
            self._add(sentence_of(detail, present=self._is_present(place)), *place)
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
