"""Opens the source: read only, short statements, a small pool, and errors in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Dialect, Engine, make_url

from cdc_sync.errors import SourceMistake, SourceUnavailable
from cdc_sync.source.dialects import dialect_of
from cdc_sync.source.dialects.base import CHECK_URL

_POOL: dict[str, Any] = {
    "poolclass": sa.QueuePool,
    "pool_size": 3,
    "max_overflow": 2,
    "pool_timeout": 60,
    "pool_recycle": 3600,
}
_AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}


def open_source(url_text: str) -> Engine:
    """Returns an engine whose every statement is a short read-only transaction of its own.

    Raises SourceUnavailable where a driver or a SQLite file is missing; connects to nothing yet.
    """
    url = make_url(url_text)
    dialect = dialect_of(url)
    try:
        url, args = dialect.connect_options(url)
        engine = sa.create_engine(
            url,
            connect_args=args,
            **(_POOL if dialect.keeps_connections(url) else {"poolclass": sa.NullPool}),
            **(_AUTOCOMMIT if dialect.has_autocommit else {}),
        )
    except (ImportError, exc.NoSuchModuleError) as error:
        # An ImportError beside this one is of a library that the driver wants.
        name = error.name if isinstance(error, ModuleNotFoundError) else _one_line(str(error))[:-1]
        raise SourceUnavailable(
            f"The driver for {url.get_backend_name()} is not installed ({name}).",
            hint=f"Install it: pip install {dialect.requirement(url)}",
        ) from error

    def connect(driver: Dialect, _record: Any, args: Any, options: Any) -> Any:
        try:
            return driver.connect(*args, **options)
        except driver.loaded_dbapi.Error:
            raise
        except Exception as error:  # a driver may raise anything, as for a host without address
            raise SourceUnavailable(
                f"The source at {_place_of(url)} cannot be reached: {_one_line(str(error))}",
                hint=CHECK_URL,
            ) from error

    def prepare(connection: Any, record: Any) -> None:
        try:
            record.info["zone"] = dialect.prepare_session(connection)
        except BaseException:
            connection.close()  # the pool does not have it yet
            raise

    dialect.prepare_engine(engine)
    sa.event.listen(engine, "do_connect", connect)
    # Before SQLAlchemy asks for the version, whose text comes as bytes from SQL_ASCII.
    sa.event.listen(engine, "connect", prepare, insert=True)
    return engine


@contextmanager
def translating_errors(engine: Engine) -> Iterator[None]:
    """Turns a driver's exceptions into SourceMistake, for a wrong name, and SourceUnavailable."""
    try:
        yield
    except exc.TimeoutError as error:
        raise SourceUnavailable("All connections to the source are in use.") from error
    except exc.DBAPIError as error:
        raise _translated(engine.url, error) from error
    except exc.CompileError as error:
        name = engine.url.get_backend_name()
        raise SourceUnavailable(f"SQLAlchemy has no SQL for {name}: {error}") from error
    except UnicodeEncodeError as error:
        # SQLite gave it, and does not take it back as where the next page starts.
        raise SourceUnavailable(
            f"The source holds an id that is not UTF-8: {error.object!r}.",
            hint="Leave that row out by `source.where`, or raise `source.page_size`.",
        ) from error


def _translated(url: URL, error: exc.DBAPIError) -> SourceUnavailable | SourceMistake:
    dialect = dialect_of(url)
    where = _place_of(url)
    text = _one_line(dialect.error_message(error.orig))
    meaning = dialect.error_meaning(error.orig)
    if meaning is None:
        return SourceUnavailable(f"The source at {where} cannot be read: {text}")
    message = meaning.message.format(
        where=where, user=url.username, database=url.database, text=text
    )
    kind = SourceMistake if meaning.is_mistake else SourceUnavailable
    return kind(message, hint=meaning.hint)


def _one_line(text: str) -> str:
    return text.strip().splitlines()[0][:300].rstrip(".") + "." if text.strip() else "no reason."


def _place_of(url: URL) -> str:
    if url.host:
        return f"{url.host}{f':{url.port}' if url.port else ''}"
    return unquote((url.database or "").removeprefix("file://"))
