"""Opens the source: read only, short statements, a small pool, errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.sqlite.base import SQLiteIdentifierPreparer
from sqlalchemy.engine import URL, Engine, make_url

from cdc_sync.errors import SourceMistake, SourceUnavailable

STATEMENT_TIMEOUT_SECONDS = 300
CONNECT_TIMEOUT_SECONDS = 10
_POSTGRESQL_ARGS = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "application_name": "cdc-sync",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # A prepared statement fails for ever on its connection once a column was altered.
    "prepare_threshold": None,
}
_MYSQL_ARGS = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "read_timeout": STATEMENT_TIMEOUT_SECONDS,
    "charset": "utf8mb4",
}


def _mysql_session(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@session.time_zone, @@system_time_zone")
        session, system = cursor.fetchone()
        record.info["zone"] = system if session == "SYSTEM" else session
        cursor.execute("SET SESSION time_zone = '+00:00'")
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _postgresql_session(connection: Any, record: Any) -> None:
    never_raise_on_load(connection)
    with connection.cursor() as cursor:
        # One round trip; the zone is that of a fresh session, so it is read before it is set.
        cursor.execute("SHOW TimeZone")
        record.info["zone"] = cursor.fetchone()[0]
        cursor.execute(
            "SET TimeZone = 'UTC'; SET default_transaction_read_only = on;"
            f" SET statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"
        )
    connection.commit()


def _sqlite_session(connection: Any, record: Any) -> None:
    # A text that is not UTF-8 is the row's trouble, not the page's.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    connection.execute("PRAGMA query_only = ON")
    record.info["zone"] = "UTC"


_SETTINGS = {
    "postgresql": _postgresql_session,
    "mysql": _mysql_session,
    "mariadb": _mysql_session,
    "sqlite": _sqlite_session,
}
_TABLE = "Check `source.table` and `source.query`."
_COLUMN = (
    "Check `source.id`, `source.watermark`, `source.where`, `source.deleted_when`, `source.query`"
    " and `mapping`."
)
_SYNTAX = "Check `source.query`, `source.where` and `source.deleted_when`."
_SQLITE_MISTAKES = ("no such table", "no such column", "syntax error", "no such function")
_MISTAKES: dict[str | int | None, str] = {
    "42P01": _TABLE,
    "42703": _COLUMN,
    "3F000": _TABLE,
    "42601": _SYNTAX,
    "42883": _SYNTAX,
    "42804": _SYNTAX,
    "42501": "Grant the reader SELECT on it.",
    1146: _TABLE,
    1054: _COLUMN,
    1064: _SYNTAX,
    1142: "Grant the reader SELECT on it.",
    "no such table": _TABLE,
    "no such column": _COLUMN,
    "syntax error": _SYNTAX,
    "no such function": _SYNTAX,
}
_REFUSALS: tuple[tuple[tuple[str | int, ...], str, str | None], ...] = (
    (
        ("28P01", "28000", 1045, 1698, "password authentication failed", 'role "'),
        'The source at {where} refused the password of "{user}".',
        "Check `source.url`.",
    ),
    (
        ("3D000", 1049, 1044, "does not exist"),
        'The source at {where} has no database "{database}" for "{user}".',
        "Check `source.url`.",
    ),
    (
        (
            2003,
            2002,
            "Connection refused",
            "could not translate",
            "Name or service not known",
            "failed to resolve",
            "timeout expired",
            "Network is unreachable",
        ),
        "The source at {where} cannot be reached.",
        "Check `source.url`, and that the database is up.",
    ),
    (
        ("not a database", "unable to open"),
        "The file {where} cannot be opened as a SQLite database.",
        "Check `source.url`.",
    ),
)


def open_source(url_text: str) -> Engine:
    """An engine whose every statement is a short read-only transaction of its own.

    Raises SourceUnavailable where a driver or a SQLite file is missing; connects to nothing yet.
    """
    url = make_url(url_text)
    backend = url.get_backend_name()
    args: dict[str, Any] = {"postgresql": _POSTGRESQL_ARGS}.get(backend, {})
    if backend == "sqlite":
        url, args = _read_only_file(url)
    try:
        if backend in ("mysql", "mariadb"):
            args = {**_MYSQL_ARGS, "conv": _mysql_values()}
        engine = sa.create_engine(
            url,
            connect_args=args,
            isolation_level="AUTOCOMMIT",
            pool_size=3,
            max_overflow=2,
            pool_timeout=60,
            pool_recycle=3600,
            poolclass=sa.QueuePool,
            skip_autocommit_rollback=True,
        )
    except ModuleNotFoundError as error:
        raise SourceUnavailable(
            f"The driver for {backend} is not installed ({error.name}).",
            hint="Install it: pip install 'cdc-sync[mysql]'",
        ) from error
    if backend == "sqlite":
        # To SQLite a name in double quotes that no column has is a text: each row would have it.
        engine.dialect.identifier_preparer = SQLiteIdentifierPreparer(
            engine.dialect, initial_quote="`", escape_quote="`"
        )
    sa.event.listen(engine, "connect", _SETTINGS[backend])
    return engine


def _mysql_values() -> dict[Any, Any]:
    """The driver's conversions, but a TIMESTAMP, which is an instant, comes as one in UTC."""
    from pymysql import converters  # noqa: PLC0415  # only where the source is MySQL
    from pymysql.constants import FIELD_TYPE  # noqa: PLC0415

    def instant(raw: str) -> object:
        value = converters.convert_datetime(raw)
        return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value

    return {**converters.conversions, FIELD_TYPE.TIMESTAMP: instant}


def _read_only_file(url: URL) -> tuple[URL, dict[str, Any]]:
    path = Path(url.database or "")
    if not path.is_file():
        raise SourceUnavailable(
            f"The SQLite source {path} does not exist.", hint="Check `source.url`."
        )
    # as_uri() quotes what a URI gives a meaning to, as `?` and `%`.
    uri = URL.create(
        "sqlite", database=path.resolve().as_uri(), query={"mode": "ro", "uri": "true"}
    )
    return uri, {"timeout": 30, "check_same_thread": False}


@contextmanager
def in_our_words(engine: Engine) -> Iterator[None]:
    """Foreign exceptions end here: SourceMistake for what the configuration names wrongly."""
    try:
        yield
    except exc.TimeoutError as error:
        raise SourceUnavailable("All connections to the source are in use.") from error
    except exc.DBAPIError as error:
        raise _translated(engine.url, error) from error
    except UnicodeEncodeError as error:
        # SQLite gave it, and does not take it back as where the next page starts.
        raise SourceUnavailable(
            f"The source holds an id that is not UTF-8: {error.object!r}.",
            hint="Leave that row out by `source.where`, or raise `source.page_size`.",
        ) from error


def _translated(url: URL, error: exc.DBAPIError) -> SourceUnavailable | SourceMistake:
    where = f"{url.host}{f':{url.port}' if url.port else ''}" if url.host else _file_of(url)
    code, said = _code_of(error.orig), _first_line(error.orig)
    if code in _MISTAKES:
        return SourceMistake(f"The source at {where} says: {said}", hint=_MISTAKES[code])
    for codes, sentence, hint in _REFUSALS:
        if code in codes or any(str(part) in said for part in codes):
            return SourceUnavailable(
                sentence.format(where=where, user=url.username, database=url.database), hint=hint
            )
    return SourceUnavailable(f"The source at {where} cannot be read: {said}")


def _code_of(original: BaseException | None) -> str | int | None:
    first = original.args[0] if original is not None and original.args else None
    if isinstance(first, int):  # MySQL's own number says more than its SQLSTATE
        return first
    sqlstate: str | None = getattr(original, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate
    return next((words for words in _SQLITE_MISTAKES if words in str(first)), None)


def _first_line(original: BaseException | None) -> str:
    args = original.args if original is not None else ()
    text = str(args[1] if len(args) > 1 and isinstance(args[0], int) else original)
    return text.strip().splitlines()[0][:300].rstrip(".") + "." if text.strip() else "no reason."


def _file_of(url: URL) -> str:
    return unquote((url.database or "").removeprefix("file://"))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that Python has no form for, as the database writes it."""

    text: str

    def __str__(self) -> str:
        return self.text


def never_raise_on_load(connection: Any) -> None:
    """Makes a psycopg connection give `Unreadable` where it would raise, and take it back."""
    import psycopg  # noqa: PLC0415  # only where the source is PostgreSQL
    from psycopg.adapt import Dumper, Loader  # noqa: PLC0415
    from psycopg.pq import Format  # noqa: PLC0415

    class UnreadableDumper(Dumper):
        def dump(self, obj: Unreadable) -> bytes:
            return obj.text.encode()

    connection.adapters.register_dumper(Unreadable, UnreadableDumper)
    for name in ("date", "timestamp", "timestamptz", "time", "timetz", "interval"):
        oid = psycopg.adapters.types[name].oid
        inner = psycopg.adapters.get_loader(oid, Format.TEXT)
        assert inner is not None  # psycopg always has these  # noqa: S101

        class SafeLoader(Loader):
            def __init__(self, oid: int, context: Any = None, _inner: Any = inner) -> None:
                super().__init__(oid, context)
                self._load = _inner(oid, context).load

            def load(self, data: Any) -> Any:
                try:
                    return self._load(data)
                except psycopg.DataError:
                    return Unreadable(bytes(data).decode())

        connection.adapters.register_loader(name, SafeLoader)
