"""The tables' revision and whom the state belongs to: checked before anything is written.

Tables are made and upgraded with Alembic, under the instance lock.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.errors import InstanceRunning, StateRefused, StateUnavailable
from cdc_sync.files import is_hidden_or, open_private
from cdc_sync.state import contracts, control
from cdc_sync.state.database import Database, open_state, state_file
from cdc_sync.state.lease import Lease, instance_lock
from cdc_sync.state.tables import REVISION
from cdc_sync.state.values import Identity

PAUSE_SECONDS = 0.1
MADE_WITHIN_SECONDS = 30.0
UPGRADED_WITHIN_SECONDS = 5.0  # else it is a daemon of an older version that has the lock
FREED_WITHIN_SECONDS = 1.0  # by a command that has just made the tables


@contextmanager
def open_for_command(url: str) -> Iterator[Database]:
    """Opens the state, and makes or upgrades its tables unless another process has the lock.

    Raises StateUnavailable beside a running daemon of an older version, StateRefused for a
    state from a newer one.
    """
    state = open_state(url)
    try:
        revision = current_revision(state)
        until = time.monotonic() + _made_within(revision)
        while revision != REVISION:
            try:
                with instance_lock(state):
                    upgrade_tables(state)
            except InstanceRunning:
                if time.monotonic() >= until:
                    expect_current(state)
                time.sleep(PAUSE_SECONDS)
            revision = current_revision(state)
        yield state
    finally:
        state.close()


@contextmanager
def take_lease(state: Database, *, standby: bool) -> Iterator[Lease]:
    """Takes the lease of a state and brings its tables up to date, or waits for who does that.

    Raises InstanceRunning where another process captures (with `standby` only on SQLite),
    StateUnavailable, StateRefused.
    """
    with ExitStack() as stack:
        lease = _lock_when_made(state, stack, standby=standby)
        if lease.held:
            upgrade_tables(state)
        else:
            await_current(state)
        lease.keep()
        yield lease


def _lock_when_made(state: Database, stack: ExitStack, *, standby: bool) -> Lease:
    """Takes the instance lock, which a command may have while it makes the tables."""
    until = time.monotonic() + _made_within(current_revision(state))
    while True:
        try:
            return stack.enter_context(instance_lock(state, standby=standby))
        except InstanceRunning:
            now = time.monotonic()
            if current_revision(state) == REVISION:
                until = min(until, now + FREED_WITHIN_SECONDS)
            if now >= until:
                raise
            time.sleep(PAUSE_SECONDS)


def _made_within(revision: str | None) -> float:
    if revision == REVISION:
        return FREED_WITHIN_SECONDS
    return MADE_WITHIN_SECONDS if revision is None else UPGRADED_WITHIN_SECONDS


def current_revision(state: Database) -> str | None:
    """Returns the revision of the state's tables; None for an empty database."""
    with state.read() as tx:
        if not sa.inspect(tx).has_table("alembic_version"):
            return None
        revision: str | None = tx.exec_driver_sql(
            "SELECT version_num FROM alembic_version"
        ).scalar()
        return revision


def upgrade_tables(state: Database) -> bool:
    """Brings the tables to the newest revision; returns whether that changed anything.

    The caller holds the instance lock. A SQLite file that holds something is copied first.
    Raises StateRefused for a state from a newer version.
    """
    revision = current_revision(state)
    if revision == REVISION:
        return False
    _refuse_newer(state, revision)
    if revision is not None and state.file is not None:
        _copy(state, state.file, revision)
    with state.begin() as tx:
        make_tables(tx)
    return True


def _refuse_newer(state: Database, revision: str | None) -> None:
    if revision is not None and revision > REVISION:
        raise StateRefused(
            f"The state database {state.name} is of revision {revision}, from a newer cdc-sync;"
            f" this one knows {REVISION}.",
            hint="Install the newer version again.",
        )


def _copy(state: Database, file: Path, revision: str) -> None:
    copy = file.with_name(f"{file.name}.before-{revision}")
    with state.begin() as tx:  # nobody writes meanwhile, and the log is in the file
        tx.exec_driver_sql("SELECT 1")
        _copy_file(file, copy)
        wal = Path(f"{file}-wal")
        if wal.exists():
            _copy_file(wal, Path(f"{copy}-wal"))


def _copy_file(file: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with file.open("rb") as original, os.fdopen(open_private(copy, flags), "wb") as to:
        shutil.copyfileobj(original, to)


def make_tables(tx: Connection) -> None:
    """Runs the migrations that are missing."""
    from alembic import command  # noqa: PLC0415  # 130 ms that only an upgrade pays
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    command.upgrade(config, "head")


def _migrations_folder() -> Path:
    """Returns the migrations' folder: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StateUnavailable(
        "The migrations are missing from this installation.", hint="Install the package again."
    )


def expect_current(state: Database) -> None:
    """Raises StateUnavailable for tables of an older revision, StateRefused for newer ones."""
    revision = current_revision(state)
    if revision == REVISION:
        return
    _refuse_newer(state, revision)
    raise StateUnavailable(
        f"The state database {state.name} is in use by a cdc-sync of an older version.",
        hint="Restart the daemon.",
    )


def await_current(state: Database) -> None:
    """Waits while another process makes the tables; raises as `expect_current`."""
    until = time.monotonic() + MADE_WITHIN_SECONDS
    while current_revision(state) != REVISION and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
    expect_current(state)


def read_revisions(url: str) -> dict[str, str | None]:
    """Returns `db current --json`: the tables' revision, None for no tables, and the newest."""
    file = state_file(url)
    if file is not None and not is_hidden_or(file.exists):
        return {"current": None, "newest": REVISION}
    state = open_state(url)
    try:
        return {"current": current_revision(state), "newest": REVISION}
    finally:
        state.close()


def upgrade_state(url: str) -> dict[str, str | None]:
    """Returns `db upgrade --json` once the tables have the newest revision.

    Raises StateUnavailable beside a running daemon of an older version, StateRefused for a state
    from a newer one.
    """
    before = read_revisions(url)["current"]
    with open_for_command(url):
        return {"from": before, "current": REVISION}


def expect_own(state: Database, config: CustomerGaugeConfig, *, adopting: bool = True) -> None:
    """Raises StateRefused for a state of another platform or client; adopts a new one.

    A state is new until something may have been taken there: a mistyped client id binds nothing.
    """
    ours = identity_of(config)
    with state.read() as tx:
        theirs = control.load(tx, Identity)
        is_new = theirs is None or (theirs != ours and not contracts.has_sent_any(tx))
    if is_new:
        if adopting:
            adopt(state, config)
    elif theirs is not None and theirs != ours:
        raise StateRefused(
            f"The state {state.name} belongs to {_named(theirs)}, and the configuration names"
            f" {_named(ours)}; nothing was sent.",
            hint="Give this one a state of its own (`state.url`),"
            " or, where both are the same platform, run: cdc-sync db adopt",
        )


def adopt(state: Database, config: CustomerGaugeConfig) -> None:
    """Makes the state belong to the configuration's platform and client."""
    with state.begin() as tx:
        control.save(tx, identity_of(config))


def describe_owners(state: Database, config: CustomerGaugeConfig) -> tuple[str | None, str]:
    """Returns to whom the state belongs, None for nobody, and whom the configuration names."""
    with state.read() as tx:
        theirs = control.load(tx, Identity)
    return None if theirs is None else _named(theirs), _named(identity_of(config))


def identity_of(config: CustomerGaugeConfig) -> Identity:
    """Returns the platform and client that a configuration names."""
    return Identity(config.imports_url, config.client_id)


def _named(identity: Identity) -> str:
    return f"{identity.base_url} (client {identity.client_id})"
