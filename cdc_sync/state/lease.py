"""One capturing process a state: a lock on a file, or a session advisory lock on PostgreSQL.

A session ends unnoticed, as when its network is cut, and another process may have the lock by
then. So on PostgreSQL every holder takes a number, and a write by an earlier number is refused.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cdc_sync.errors import InstanceRunning, StateUnavailable
from cdc_sync.state import control
from cdc_sync.state.database import Database, give_to_owner_of_folder

ADVISORY_LOCK = 0x6364635F73796E63  # "cdc_sync"


class Lease:
    """The right to capture; this one is held for as long as the process lives."""

    held = True

    def keep(self) -> bool:
        """Takes it where nobody has it; whether it is held. Raises StateUnavailable."""
        return True

    def fence(self, tx: Connection) -> None:
        """As the first thing of a write: raises StateUnavailable where it was lost."""


@contextmanager
def instance_lock(state: Database, *, standby: bool = False) -> Iterator[Lease]:
    """The lease of a state. Raises InstanceRunning where another process holds it.

    With `standby` it is then yielded without being held, on PostgreSQL.
    """
    if state.file is not None:
        with _file_lock(state.file):
            yield Lease()
        return
    lease = _ServerLease(state.engine)
    if not lease.keep() and not standby:
        raise _running(state.name)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def _file_lock(file: Path) -> Iterator[None]:
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
        yield  # only we can end it
    finally:
        os.close(descriptor)


class _ServerLease(Lease):
    """A session advisory lock: it is gone with its connection, as when the server restarts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._name = engine.url.render_as_string()
        self._connection: Connection | None = None
        self._number: int | None = None
        self.held = False

    def keep(self) -> bool:
        """Takes the lock where we do not have it, or not any more."""
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
            except DBAPIError:
                self.release()
        if self._connection is None:
            self._take()
        return self.held

    def release(self) -> None:
        """Ends the session, and the lock with it."""
        connection, self._connection = self._connection, None
        self.held, self._number = False, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # where it broke, the lock went with it
                connection.execute(sa.select(sa.func.pg_advisory_unlock(ADVISORY_LOCK)))
            connection.invalidate()
            connection.close()

    def fence(self, tx: Connection) -> None:
        """Takes the next number at the first write, and holds it against a later one after that."""
        if self.held and self._number is None:
            self._number = control.next_holder(tx)
        elif not self.held or control.holder(tx) != self._number:
            raise StateUnavailable(
                f"Another cdc-sync captures for the state {self._name} now; nothing was written."
            )

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
        self.held = bool(taken)
        if not taken:
            self.release()


def _running(name: str) -> InstanceRunning:
    return InstanceRunning(
        f"Another cdc-sync is at work on the state {name}.", mend="Stop it, or wait for its end."
    )
