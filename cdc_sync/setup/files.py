"""A first configuration: the answers of `init` become config.yaml and files with the secrets."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import ValidationError
from sqlalchemy.engine import make_url

from cdc_sync.config.interpolate import Interpolator
from cdc_sync.config.load import PLACES, describe_error
from cdc_sync.config.model import Config, StateConfig
from cdc_sync.config.urls import (
    MYSQL,
    POSTGRESQL,
    SQLITE,
    mask_url,
    normalize_database_url,
    userinfo_span,
    with_absolute_path,
)
from cdc_sync.config.write import WrittenSections
from cdc_sync.contract import Mapped
from cdc_sync.errors import UserMistake
from cdc_sync.rules.mapping import compile_mapping, mapped_columns
from cdc_sync.source.reader import Source

PASSWORD, SECRET = "source_password", "client_secret"  # names of files


@dataclass(frozen=True, slots=True)
class Place:
    """Where config.yaml is to be, and its secrets beside it; NAME.yaml has NAME.client_secret."""

    config: Path

    @property
    def folder(self) -> Path:
        """Of all of them."""
        return self.config.absolute().parent

    def secret(self, name: str) -> Path:
        """The file of a secret."""
        return self.folder / self._file(name)

    def form(self, name: str) -> str:
        """What config.yaml says for it: the unit's credential, or the file itself in a shell."""
        folder = str(self.folder)
        beside = "." if set(folder) & set("${}") else folder
        return f"${{file:${{CREDENTIALS_DIRECTORY:-{beside}}}/{self._file(name)}}}"

    @property
    def state_url(self) -> str | None:
        """A state that no other configuration has; None: the default."""
        single = self.config.name == PLACES[0].name
        if self.folder != PLACES[1].parent:
            return "sqlite:///state.db" if single else f"sqlite:///{self.config.stem}.state.db"
        if single:
            return None
        file = Path(make_url(StateConfig().url.get_secret_value()).database or "")
        return f"sqlite:///{file.parent / self.config.stem / file.name}"

    def _file(self, name: str) -> str:
        return name if self.config.name == PLACES[0].name else f"{self.config.stem}.{name}"


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """A source's URL without its password, which is empty where there is none."""

    url: str
    user: str | None
    password: str
    database: str

    @property
    def with_password(self) -> str:
        """As a driver needs it."""
        if not self.password:
            return self.url
        return make_url(self.url).set(password=self.password).render_as_string(hide_password=False)

    def with_form(self, form: str) -> str:
        """As config.yaml has it: the form in the password's place."""
        literal = self.url.replace("${", "$${")
        _, end = userinfo_span(literal)
        return f"{literal[:end]}:{form}{literal[end:]}" if self.password else literal


@dataclass(frozen=True, slots=True)
class Answers:
    """What `init` has learned; `mapping` and `customergauge` by the configuration's keys."""

    source: SourceAddress
    table: str
    id: Sequence[str]
    watermark: str
    time_zone: str | None
    mapping: Mapping[str, str]
    customergauge: Mapping[str, str]
    client_secret: str
    state_url: str | None


def source_address(text: str) -> SourceAddress:
    """The address that a person has typed. Raises UserMistake, without the URL in it."""
    try:
        typed = Interpolator(os.environ, Path.cwd()).interpolate_url(text.strip())
        url = normalize_database_url(typed, drivers=(POSTGRESQL, MYSQL, SQLITE))
    except ValueError as error:
        raise UserMistake(f"The URL of the source {error}") from None
    parts = make_url(with_absolute_path(url, Path.cwd()))
    bare = parts._replace(password=None).render_as_string(hide_password=False)
    if mask_url(bare) != bare:
        raise UserMistake(
            "The URL of the source has a password among its parameters.",
            hint="Write it as user:password@host, or leave it out and be asked.",
        )
    name = Path(parts.database or "").stem if url.startswith(SQLITE) else parts.database
    return SourceAddress(bare, parts.username, str(parts.password or ""), name or "")


def config_from(answers: Answers) -> Config:
    """The configuration in memory, secrets and all. Raises UserMistake for what cannot work."""
    sections = _sections(answers, answers.source.with_password, answers.client_secret)
    try:
        return Config.model_validate(sections)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        said = [describe_error(detail) for detail in details]
        raise UserMistake("\n".join(said)) from None


def config_as_written(answers: Answers, place: Place) -> WrittenSections:
    """The same as config.yaml says it: each secret by the file that it is in."""
    sections = {
        section: {key: _literal(value) for key, value in keys.items()}
        for section, keys in _sections(answers, "", "").items()
    }
    sections["source"]["url"] = answers.source.with_form(place.form(PASSWORD))
    sections["customergauge"]["client_secret"] = place.form(SECRET)
    return sections


def first_rows(config: Config, count: int) -> list[Mapped]:
    """The first rows as they would be sent. Raises SourceUnavailable, SourceMistake."""
    few = config.source.model_copy(update={"page_size": count})
    source = Source(few, mapped_columns(config.mapping))
    with closing(source), source.scan() as scan:
        map_row = compile_mapping(
            config.mapping, zone=scan.zone, clear_end_with=config.customergauge.clear_end_with
        )
        return [map_row(row) for row in scan.full_page(None).rows]


def files_of(answers: Answers, place: Place, text: str) -> dict[Path, tuple[str, int]]:
    """Every file with its text and mode: the configuration last, for it names the others."""
    files = {place.secret(SECRET): (answers.client_secret, 0o600)}
    if answers.source.password:
        files[place.secret(PASSWORD)] = (answers.source.password, 0o600)
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
            raise UserMistake(f"{path} is there already.", hint="Add --force to write it anew.")


def write_files(files: Mapping[Path, tuple[str, int]], *, force: bool) -> None:
    """Writes each text with its mode, whole; without `force` none where one would be replaced.

    A file that holds the very text is left as it is. Raises UserMistake.
    """
    changed = {path: file for path, file in files.items() if not _holds(path, file[0])}
    if not force:
        refuse_existing(*changed)
    for path, (text, mode) in changed.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, text, mode)
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


def _write(path: Path, text: str, mode: int) -> None:
    # Nobody reads half a file, and a secret is never in one that others may read.
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


def _literal(value: object) -> object:
    return value.replace("${", "$${") if isinstance(value, str) else value


def _sections(answers: Answers, url: str, secret: str) -> dict[str, dict[str, object]]:
    key = answers.id[0] if len(answers.id) == 1 else list(answers.id)
    source: dict[str, object] = {
        "url": url,
        "table": answers.table,
        "id": key,
        "watermark": answers.watermark,
    }
    if answers.time_zone:
        source["time_zone"] = answers.time_zone
    sections: dict[str, dict[str, object]] = {
        "source": source,
        "mapping": dict(answers.mapping),
        "customergauge": {**answers.customergauge, "client_secret": secret},
    }
    if answers.state_url:
        sections["state"] = {"url": answers.state_url}
    return sections
