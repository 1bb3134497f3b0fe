"""Opens the state database, a SQLite file with WAL and synchronous=FULL, or PostgreSQL."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection, exc
from sqlalchemy.engine import URL, Engine, make_url

from cdc_sync.config.urls import mask_url
from cdc_sync.errors import StateUnavailable
from cdc_sync.files import expect_no_links, give_to_owner_of_folder, open_private

BUSY_TIMEOUT_SECONDS = 30
OLDEST_SQLITE = (3, 35)  # of 2021: UPDATE … FROM, MATERIALIZED
_READ = {"cdc_sync_read": True}
# A writer that is frozen or cut off holds its locks no longer: others wait for them.
_END_WHEN_STUCK = "SET LOCAL idle_in_transaction_session_timeout = '5s'"

Fence: TypeAlias = Callable[[Connection], None]
"""Raises StateUnavailable where the one who writes has lost the right to."""


class Database:
    """The open state. Every write is one transaction, begun as a write (never upgraded)."""

    def __init__(self, engine: Engine, file: Path | None) -> None:
        self.engine = engine
        self.file = file  #: the SQLite file, None on PostgreSQL
        # Threads of one process queue here; SQLite's own waiting polls with growing pauses.
        self._one_writer = threading.Lock()
        self._fence: Fence | None = None

    @property
    def name(self) -> str:
        """Returns the file, or the address without its password."""
        if self.file is not None:
            return str(self.file)
        return mask_url(self.engine.url.render_as_string(hide_password=False))

    @property
    def backend(self) -> str:
        """Returns which database it is: sqlite or postgresql."""
        return self.engine.dialect.name

    def fenced(self, fence: Fence) -> "Database":
        """Returns the same state, where every write first passes the fence in its transaction."""
        same = copy(self)
        same._fence = fence  # noqa: SLF001
        return same

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Opens a write transaction and commits it at the end. Raises StateUnavailable."""
        with self._one_writer, self.translating_errors(), self.engine.begin() as tx:
            if tx.dialect.name != "sqlite":
                tx.exec_driver_sql(_END_WHEN_STUCK)
            if self._fence is not None:
                self._fence(tx)
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Opens a consistent view for reading, beside any writer. Raises StateUnavailable."""
        with self.translating_errors(), self.engine.connect() as connection:
            reading = connection.execution_options(**_READ)
            with reading.begin():
                yield reading

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    @contextmanager
    def translating_errors(self) -> Iterator[None]:
        """Raises StateUnavailable in place of SQLAlchemy's exceptions."""
        try:
            yield
        except (exc.DBAPIError, exc.TimeoutError) as error:
            raise StateUnavailable(
                f"The state database {self.name} does not work: {_first_line(error)}",
                hint=_hint_for(error),
            ) from error


def open_state(url_text: str) -> Database:
    """Opens the state at a URL; makes a missing SQLite file (0600) and its folder (0700).

    Raises StateUnavailable. The tables are made by `state.schema`.
    """
    url = make_url(url_text)
    if url.get_backend_name() == "sqlite":
        return _open_file(url)
    engine = sa.create_engine(
        url,
        pool_size=5,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "application_name": "cdc-sync state"},
    )
    sa.event.listen(engine, "connect", _postgresql_session)
    return Database(engine, None)


def is_for_reading(tx: Connection) -> bool:
    """Returns whether this is a transaction for reading."""
    return bool(tx.get_execution_options().get("cdc_sync_read"))


def is_shared(tx: Connection) -> bool:
    """Whether daemons on several machines may use the state."""
    return tx.dialect.name != "sqlite"


def state_now(tx: Connection, now: datetime) -> datetime:
    """Returns the time of the state's server; on SQLite that is our own, `now`."""
    if tx.dialect.name == "sqlite":
        return now
    server: datetime = tx.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return server


def open_memory() -> Database:
    """Opens an empty state in memory, for a plan where there is no state yet."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    sa.event.listen(engine, "connect", _memory_session)
    sa.event.listen(engine, "begin", _begin)
    return Database(engine, None)


def state_file(url_text: str) -> Path | None:
    """Returns the SQLite file that a state URL names, or None where it names a server."""
    url = make_url(url_text)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _open_file(url: URL) -> Database:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StateUnavailable(
            f"This Python comes with SQLite {sqlite3.sqlite_version}, which is too old.",
            hint="Use a Python with SQLite 3.35 or newer, or a `state.url` of PostgreSQL.",
        )
    path = Path(url.database or "")
    try:
        files = [path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal"))]
        for file in files:
            expect_no_links(file.absolute())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # SQLite gives the files that it makes beside it the same mode and owner.
            os.close(open_private(path, os.O_RDWR | os.O_CREAT))
        engine = sa.create_engine(
            url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, pool_size=5, poolclass=sa.QueuePool
        )
        sa.event.listen(engine, "connect", _sqlite_session)
        sa.event.listen(engine, "begin", _begin)
        database = Database(engine, path)
        with database.read() as tx:
            tx.exec_driver_sql("PRAGMA schema_version")  # fails where this is not a database
        for file in files:
            with suppress(FileNotFoundError):
                give_to_owner_of_folder(file)
    except OSError as error:
        raise StateUnavailable(
            f"The state folder {path.parent} cannot be used: {error.strerror}.",
            hint="Give it to the user that runs cdc-sync, or change `state.url`.",
        ) from error
    return database


def _sqlite_session(connection: Any, _record: Any) -> None:
    # sqlite3 would begin only before the first write, and what was read before could be old.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _memory_session(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _postgresql_session(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN" if is_for_reading(connection) else "BEGIN IMMEDIATE")


def _first_line(error: exc.SQLAlchemyError) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0][:300].rstrip(".") + "."


def _hint_for(error: exc.SQLAlchemyError) -> str | None:
    text = str(getattr(error, "orig", error))
    if "not a database" in text or "malformed" in text:
        return (
            "Restore it from a backup, or move it away: everything is then sent once more"
            " (references that were imported are to be imported again first)."
        )
    if "readonly" in text or "unable to open" in text:
        return "Give the file and its folder to the user that runs cdc-sync, or change `state.url`."
    if "full" in text:
        return "Make room on its disk; delivery goes on by itself."
    return None
