"""One capturing process a state: a lock on a file, or a session advisory lock on PostgreSQL."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cdc_sync.errors import InstanceRunning, StateUnavailable
from cdc_sync.state.database import Database, give_to_owner_of_folder

ADVISORY_LOCK = 0x6364635F73796E63  # "cdc_sync"


Keep: TypeAlias = Callable[[], None]
"""Called now and then, makes sure that the lock is still held.

Raises InstanceRunning where another process took it meanwhile, StateUnavailable while nobody can.
"""


@contextmanager
def instance_lock(state: Database) -> Iterator[Keep]:
    """Holds the instance lock while inside. Raises InstanceRunning where another process has it."""
    held = _file_lock(state.file) if state.file is not None else _server_lock(state.engine)
    with held as keep:
        yield keep


@contextmanager
def _file_lock(file: Path) -> Iterator[Keep]:
    path = file.with_name(f"{file.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnavailable(
            f"The lock file {path} cannot be opened: {error.strerror}.",
            mend="Give it to the user that runs cdc-sync.",
        ) from error
    try:
        give_to_owner_of_folder(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _running(str(file)) from None
        yield lambda: None  # only we can end it
    finally:
        os.close(descriptor)


@contextmanager
def _server_lock(engine: Engine) -> Iterator[Keep]:
    lock = _ServerLock(engine)
    lock.keep()
    try:
        yield lock.keep
    finally:
        lock.release()


class _ServerLock:
    """A session advisory lock: it is gone with its connection, as when the server restarts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._name = engine.url.render_as_string()
        self._connection: Connection | None = None

    def keep(self) -> None:
        """Takes the lock where we do not have it, or not any more."""
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
            except DBAPIError:
                self.release()
        if self._connection is None:
            self._take()

    def release(self) -> None:
        """Ends the session, and the lock with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # where it broke, the lock went with it
                connection.execute(sa.select(sa.func.pg_advisory_unlock(ADVISORY_LOCK)))
            connection.invalidate()
            connection.close()

    def _take(self) -> None:
        try:
            self._connection = self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            )
            taken = self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK)))
        except DBAPIError as error:
            self.release()
            raise StateUnavailable(
                f"The state database {self._name} cannot be reached.",
                mend="Check `state.url`, and that the database is up.",
            ) from error
        if not taken:
            self.release()
            raise _running(self._name)


def _running(name: str) -> InstanceRunning:
    return InstanceRunning(
        f"Another cdc-sync is at work on the state {name}.", mend="Stop it, or wait for its end."
    )
