"""The lease of a state: one process captures, by a file lock or a lock of PostgreSQL.

A session ends unnoticed, as when its network is cut, and another process may have the lock by
then. So on PostgreSQL every holder takes a number, and a write by an earlier number is refused.
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from cdc_sync.errors import InstanceRunning, StateUnavailable
from cdc_sync.files import open_private
from cdc_sync.state import control
from cdc_sync.state.database import Database
from cdc_sync.state.values import HolderNumber

ADVISORY_LOCK = 0x6364635F73796E63  # "cdc_sync"
SILENT_SECONDS = 10  # after which a daemon that gives no sign of life loses it


class Lease:
    """The right to capture; this one is held for as long as the process lives."""

    held = True

    def keep(self) -> bool:
        """Takes the lease where nobody has it; returns whether it is held. Raises StateUnavailable.

        The tables must be there. A lease that was lost is taken again by a later call only: what
        began under it is to end first.
        """
        return True

    def fence(self, tx: Connection) -> None:
        """Raises StateUnavailable where the lease was lost; the first thing in every write."""


@contextmanager
def instance_lock(state: Database, *, standby: bool = False) -> Iterator[Lease]:
    """Takes the lease of a state. Raises InstanceRunning where another process holds it.

    With `standby` it is then yielded without being held, on PostgreSQL.
    """
    if state.file is not None:
        with _file_lock(state.file):
            yield Lease()
        return
    lease = _ServerLease(state, beats=standby)
    if not lease.take() and not standby:
        raise _running(state.name)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def _file_lock(file: Path) -> Iterator[None]:
    path = file.with_name(f"{file.name}.lock")
    try:
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise StateUnavailable(
            f"The lock file {path} cannot be opened: {error.strerror}.",
            hint="Give it to the user that runs cdc-sync.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _running(str(file)) from None
        yield  # only we can end it
    finally:
        os.close(descriptor)


_TRY_LOCK = select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK))
# A machine that lost its power or its network ends no session; PostgreSQL before 14 cannot either.
_END_WHEN_SILENT = sa.text(
    f"SELECT set_config(name, '{SILENT_SECONDS}s', false) FROM pg_settings"
    " WHERE name = 'idle_session_timeout'"
)


class _ServerLease(Lease):
    """A session advisory lock: it is gone with its connection, as when the server restarts."""

    def __init__(self, state: Database, *, beats: bool) -> None:
        self._state = state
        self._beats = beats
        self._connection: Connection | None = None
        self._number: int | None = None
        self.held = False

    def take(self) -> bool:
        """Takes the lock where nobody has it; the tables need not be there yet."""
        try:
            with self._state.translating_errors():
                connection = self._state.engine.connect()
                self._connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                self.held = bool(connection.scalar(_TRY_LOCK))
                if self.held and self._beats:
                    connection.execute(_END_WHEN_SILENT)
        except StateUnavailable:
            self.release()
            raise
        if not self.held:
            self._connection = None
            connection.close()  # there is nothing to end
        return self.held

    def keep(self) -> bool:
        """Takes the lock and a number where we do not have them, and gives a sign of life."""
        if self._connection is None:
            self.take()
        if self._connection is not None:
            try:
                with self._state.translating_errors():
                    self._prove(self._connection)
            except StateUnavailable:
                self.release()
        return self.held

    def release(self) -> None:
        """Ends the session, and the lock with it."""
        connection, self._connection = self._connection, None
        self.held, self._number = False, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # where it broke, the lock went with it
                connection.execute(select(sa.func.pg_advisory_unlock(ADVISORY_LOCK)))
            connection.invalidate()
            connection.close()

    def fence(self, tx: Connection) -> None:
        """Keeps a later number from being taken until `tx` ends."""
        if self._number is None or _stored_number(tx) != self._number:
            raise StateUnavailable(
                f"Another cdc-sync captures for the state {self._state.name} now;"
                " nothing was written."
            )

    def _prove(self, connection: Connection) -> None:
        """Raises where the session, and so the lock, is gone."""
        if self._number is None:
            # On the session that has the lock: another one's number could only come later.
            self._number = _take_number(connection)
        else:
            connection.exec_driver_sql("SELECT 1")


def _take_number(tx: Connection) -> int:
    """Takes the number of a new process that captures; earlier ones may write no more."""
    latest = control.load_locked(tx, HolderNumber) or HolderNumber(0)
    control.save(tx, HolderNumber(latest.number + 1))
    return latest.number + 1


def _stored_number(tx: Connection) -> int | None:
    """Returns the number of the process that captures; a new one waits until `tx` ends."""
    latest = control.load_shared(tx, HolderNumber)
    return None if latest is None else latest.number


def owner_id() -> str:
    """Returns the name of this process, which no other one has: host, number, place and chance."""
    return _owner_of(os.getpid())


@cache
def _owner_of(pid: int) -> str:  # a process that was forked has a number of its own
    return f"{socket.gethostname()}:{pid}:{pid_place()}:{secrets.token_hex(4)}"


@cache
def pid_place() -> str:
    """Returns within what a process's number means one process: this boot and PID namespace.

    Two containers may have the same host name and numbers. Empty where the system does not say.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{boot}/{namespace}"


def is_dead_owner(owner: str) -> bool:
    """Returns whether the process of an `owner_id` has ended; False where that is not known."""
    _, *parts = owner.split(":")
    if len(parts) != 3 or not parts[0].isdigit() or owner == owner_id():
        return False
    pid, place = int(parts[0]), parts[1]
    if place == pid_place() and pid == os.getpid():
        return bool(place)  # an earlier process, which had our number
    return has_ended(place, pid)


def has_ended(place: str | None, pid: int) -> bool:
    """Returns whether a process has ended; False where its number is of another place."""
    if not place or place != pid_place():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, as another user's
    return False


def _running(name: str) -> InstanceRunning:
    return InstanceRunning(
        f"Another cdc-sync is at work on the state {name}.", hint="Stop it, or wait for its end."
    )
