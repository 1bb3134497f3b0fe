"""One capturing process a state: a lock on a file, or a session advisory lock on PostgreSQL."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from cdc_sync.errors import InstanceRunning, StateUnavailable
from cdc_sync.state.database import Database, give_to_owner_of_folder

ADVISORY_LOCK = 0x6364635F73796E63  # "cdc_sync"


@contextmanager
def instance_lock(state: Database) -> Iterator[None]:
    """Holds the instance lock while inside. Raises InstanceRunning where another process has it."""
    held = _file_lock(state.file) if state.file is not None else _server_lock(state.engine)
    with held:
        yield


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
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _server_lock(engine: Engine) -> Iterator[None]:
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except DBAPIError as error:
        raise StateUnavailable(
            f"The state database {engine.url.render_as_string()} cannot be reached.",
            mend="Check `state.url`, and that the database is up.",
        ) from error
    with connection:
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK))):
            raise _running(engine.url.render_as_string())
        try:
            yield
        finally:
            if not connection.invalidated and not connection.closed:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(ADVISORY_LOCK)))


def _running(name: str) -> InstanceRunning:
    return InstanceRunning(
        f"Another cdc-sync is at work on the state {name}.", mend="Stop it, or wait for its end."
    )
