"""Alembic from inside the program: where the migrations lie, and an upgrade under the lock."""

import shutil
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.errors import StateRefused, StateUnavailable
from cdc_sync.state.database import Database, give_to_owner_of_folder
from cdc_sync.state.tables import REVISION

MADE_WITHIN_SECONDS = 30.0


def current(state: Database) -> str | None:
    """The revision of the state's tables; None for an empty database."""
    with state.read() as tx:
        if not sa.inspect(tx).has_table("alembic_version"):
            return None
        revision: str | None = tx.exec_driver_sql(
            "SELECT version_num FROM alembic_version"
        ).scalar()
        return revision


def upgrade(state: Database) -> bool:
    """Brings the tables to the newest revision; says whether anything was to be done.

    The caller holds the instance lock. A SQLite file that holds something is copied first.
    Raises StateRefused for a state from a newer version.
    """
    revision = current(state)
    if revision == REVISION:
        return False
    if revision is not None and revision > REVISION:
        raise StateRefused(
            f"The state database {state.name} is of revision {revision}, from a newer cdc-sync;"
            f" this one knows {REVISION}.",
            mend="Install the newer version again.",
        )
    if revision is not None and state.file is not None:
        _copy(state, state.file, revision)
    with state.begin() as tx:
        _run_alembic(tx)
    return True


def expect_current(state: Database) -> None:
    """Raises where the tables are not those of this version, and nothing may upgrade them here."""
    revision = current(state)
    if revision == REVISION:
        return
    if revision is not None and revision > REVISION:
        upgrade(state)
    raise StateUnavailable(
        f"The state database {state.name} is in use by a cdc-sync of an older version.",
        mend="Restart the daemon.",
    )


def await_current(state: Database) -> None:
    """Waits while another process makes the tables; raises as `expect_current`."""
    until = time.monotonic() + MADE_WITHIN_SECONDS
    while current(state) != REVISION and time.monotonic() < until:
        time.sleep(0.2)
    expect_current(state)


def migrations_folder() -> Path:
    """Where the migrations lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StateUnavailable(
        "The migrations are missing from this installation.", mend="Install the package again."
    )


def _run_alembic(tx: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # 130 ms that only an upgrade pays
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    command.upgrade(config, "head")


def _copy(state: Database, file: Path, revision: str) -> None:
    copy = file.with_name(f"{file.name}.before-{revision}")
    with state.begin() as tx:  # nobody writes meanwhile, and the log is in the file
        tx.exec_driver_sql("SELECT 1")
        shutil.copy2(file, copy)
        wal = Path(f"{file}-wal")
        if wal.exists():
            shutil.copy2(wal, f"{copy}-wal")
    give_to_owner_of_folder(copy)
