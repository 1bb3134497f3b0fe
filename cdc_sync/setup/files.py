"""A first configuration: the answers of `init` become config.yaml and files with the secrets."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import ValidationError
from sqlalchemy.engine import URL, make_url

from cdc_sync.config.interpolate import Interpolator
from cdc_sync.config.load import PLACES, describe_error
from cdc_sync.config.model import Config, StateConfig
from cdc_sync.config.urls import (
    mask_url,
    normalize_source_url,
    userinfo_span,
    with_absolute_path,
)
from cdc_sync.config.write import WrittenSections
from cdc_sync.errors import UserMistake

PASSWORD, SECRET = "source_password", "client_secret"  # names of files


@dataclass(frozen=True, slots=True)
class Place:
    """Where config.yaml is, and its secrets beside it; NAME.yaml has NAME.client_secret."""

    config: Path

    @property
    def folder(self) -> Path:
        """The folder of all of them."""
        return self.config.absolute().parent

    @property
    def _is_single(self) -> bool:
        return self.config.name == PLACES[0].name

    def secret(self, name: str) -> Path:
        """Returns the file of a secret."""
        return self.folder / (name if self._is_single else f"{self.config.stem}.{name}")

    def form(self, name: str) -> str:
        """Returns the form that reads it: the unit's credential, or in a shell the file itself."""
        folder = "." if set(str(self.folder)) & set("${}") else str(self.folder)
        return f"${{file:${{CREDENTIALS_DIRECTORY:-{folder}}}/{self.secret(name).name}}}"

    @property
    def state_url(self) -> str | None:
        """The URL of a state that no other configuration has; None for the default."""
        if self.folder != PLACES[1].parent:
            return f"sqlite:///{'' if self._is_single else f'{self.config.stem}.'}state.db"
        if self._is_single:
            return None
        file = Path(make_url(StateConfig().url.get_secret_value()).database or "")
        return f"sqlite:///{file.parent / self.config.stem / file.name}"


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of `init`; `mapping` and `customergauge` by the configuration's keys."""

    source: URL  #: with the password, if there is one
    table: str
    id: Sequence[str]
    watermark: str
    time_zone: str | None
    mapping: Mapping[str, str]
    customergauge: Mapping[str, str]
    client_secret: str
    state_url: str | None


def parse_source_url(text: str) -> URL:
    """Returns the URL that a person typed. Raises UserMistake, without the URL in it."""
    try:
        typed = Interpolator(os.environ, Path.cwd()).interpolate_url(text.strip())
        url = normalize_source_url(typed)
    except ValueError as error:
        raise UserMistake(f"The URL of the source {error}") from None
    source = make_url(with_absolute_path(url, Path.cwd()))
    bare = _without_password(source)
    if mask_url(bare) != bare:
        raise UserMistake(
            "The URL of the source has a password among its parameters.",
            hint="Write it as user:password@host, or leave it out and be asked.",
        )
    return source if source.password else make_url(bare)


def _without_password(url: URL) -> str:
    return url._replace(password=None).render_as_string(hide_password=False)


def _with_form(url: URL, form: str) -> str:
    """Returns a source's URL as config.yaml has it: the form in the password's place."""
    literal = _without_password(url).replace("${", "$${")
    _, end = userinfo_span(literal)
    return f"{literal[:end]}:{form}{literal[end:]}" if url.password else literal


def config_from(answers: Answers) -> Config:
    """Returns the configuration with its secrets. Raises UserMistake for what cannot work."""
    url = answers.source.render_as_string(hide_password=False)
    sections = _sections(answers, url, answers.client_secret)
    try:
        return Config.model_validate(sections)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise UserMistake("\n".join(map(describe_error, details))) from None


def config_as_written(answers: Answers, place: Place) -> WrittenSections:
    """Returns the same as config.yaml has it: each secret by the file that it is in."""
    sections = {
        section: {
            key: value.replace("${", "$${") if isinstance(value, str) else value
            for key, value in keys.items()
        }
        for section, keys in _sections(answers, "", "").items()
    }
    sections["source"]["url"] = _with_form(answers.source, place.form(PASSWORD))
    sections["customergauge"]["client_secret"] = place.form(SECRET)
    return sections


def files_of(answers: Answers, place: Place, text: str) -> dict[Path, tuple[str, int]]:
    """Returns each file's text and mode: the configuration last, for it names the others."""
    files = {place.secret(SECRET): (answers.client_secret, 0o600)}
    if answers.source.password:
        files[place.secret(PASSWORD)] = (str(answers.source.password), 0o600)
    return {**files, place.config: (text, 0o644)}


def expect_writable(folder: Path) -> None:
    """Raises UserMistake where nothing can be written to a folder, or where none can be made."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "may not be written to" if there.is_dir() else "is not a folder"
        raise UserMistake(f"{there} {why}.", hint="Choose another --output, or run this as root.")


def refuse_existing(*paths: Path) -> None:
    """Raises UserMistake for the first of these files that is there and holds anything."""
    for path in paths:
        if os.path.lexists(path) and not (path.is_file() and path.stat().st_size == 0):
            raise UserMistake(f"{path} is there already.", hint="Add --force to overwrite it.")


def write_files(files: Mapping[Path, tuple[str, int]], *, force: bool) -> None:
    """Writes each text with its mode, whole; without `force` none where one would be replaced.

    A file that holds the very text is left as it is. Raises UserMistake.
    """
    changed = {path: file for path, file in files.items() if not _holds(path, file[0])}
    if not force:
        refuse_existing(*changed)
    for path, (text, mode) in changed.items():
        try:
            write_whole(path, text, mode)
        except OSError as error:
            raise UserMistake(
                f"{path} cannot be written ({error.strerror}).",
                hint="Choose another --output, or run this as root.",
            ) from None


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def write_whole(path: Path, text: str, mode: int) -> None:
    """Writes a file at once: nobody reads half of it, nor a secret that has yet the wrong mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            os.replace(file.name, path)  # noqa: PTH105  # a name, not a Path
        except BaseException:
            os.unlink(file.name)  # noqa: PTH108
            raise


def _sections(answers: Answers, url: str, secret: str) -> dict[str, dict[str, object]]:
    sections: dict[str, dict[str, object]] = {
        "source": {
            "url": url,
            "table": answers.table,
            "id": answers.id[0] if len(answers.id) == 1 else list(answers.id),
            "watermark": answers.watermark,
            "time_zone": answers.time_zone,
        },
        "mapping": dict(answers.mapping),
        "customergauge": {**answers.customergauge, "client_secret": secret},
        "state": {"url": answers.state_url},
    }
    return {
        name: {key: value for key, value in keys.items() if value is not None}
        for name, keys in sections.items()
    }
