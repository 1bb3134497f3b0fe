"""Copies a whole state into an empty one: to move it, to back it up, and to restore it.

All tables are read in one transaction, and written, read back and compared in another. What is
interrupted, or comes out different, is rolled back and leaves the target empty.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects.postgresql import REGCLASS

from cdc_sync.clock import utc_now
from cdc_sync.config.urls import mask_url
from cdc_sync.errors import InstanceRunning, StateRefused, StateUnavailable, UserMistake
from cdc_sync.files import expect_no_links
from cdc_sync.operations.status import read_status
from cdc_sync.state.database import Database, open_state, state_file
from cdc_sync.state.lease import instance_lock
from cdc_sync.state.schema import (
    expect_current,
    make_tables,
    open_for_command,
    read_revisions,
    take_lease,
)
from cdc_sync.state.tables import metadata

BATCH = 1000
_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

Copied: TypeAlias = dict[str, int]  #: how many rows each table has
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called now and then with what is done, of how many rows, and how many there are."""


class Content(NamedTuple):
    """How many rows a table has, and the sum of their hashes, in whatever order they come."""

    rows: int = 0
    hash: int = 0

    def plus(self, rows: Sequence[tuple[Any, ...]]) -> "Content":
        """Returns it with these rows added."""
        hashes = (blake2b(orjson.dumps(row), digest_size=16).digest() for row in rows)
        added = sum(int.from_bytes(one, "big") for one in hashes)
        return Content(self.rows + len(rows), (self.hash + added) % 2**128)


def copy_to(from_url: str, to_url: str, progress: Progress) -> Copied:
    """Copies a state at which nothing is at work.

    Raises InstanceRunning where a daemon or a run is at work on either, StateRefused where there
    is nothing to copy or the target is not empty, StateUnavailable.
    """
    _expect_state(from_url, hint="`state.url` names the state to copy: change it afterwards only.")
    with closing(open_state(from_url)) as source, take_lease(source, standby=False):
        _expect_no_daemon(source)
        with closing(open_state(to_url)) as target:
            return _copy_into_empty(source, target, progress)


def restore(file: Path, to_url: str, progress: Progress) -> Copied:
    """Copies a backup into a state at which nothing is at work; raises as `copy_to`.

    A backup of an older version is upgraded first; what it was stays beside it.
    """
    _expect_state(_url_of(file))
    with (
        open_for_command(_url_of(file)) as source,
        closing(open_state(to_url)) as target,
    ):
        return _copy_into_empty(source, target, progress)


def back_up(from_url: str, file: Path, progress: Progress, *, force: bool) -> Copied:
    """Copies a state, beside whatever is at work on it, into a SQLite file of mode 0600.

    The file is there whole or not at all. Raises UserMistake where it cannot be made, or is there
    already and not `force`; StateRefused, StateUnavailable.
    """
    _expect_state(from_url)
    with closing(open_state(from_url)) as source:
        expect_current(source)
        _expect_place(file, source, force=force)
        try:
            with TemporaryDirectory(dir=file.parent, prefix=".cdc-sync-") as folder:
                made = Path(folder) / "state.db"
                with closing(open_state(_url_of(made))) as target:
                    copied = _copy(source, target, progress)
                made.replace(file)
        except OSError as error:
            raise _cannot_write(file, str(error.strerror)) from error
    return copied


def _expect_state(url: str, hint: str | None = None) -> None:
    if read_revisions(url)["current"] is None:
        name = state_file(url) or mask_url(url)
        raise StateRefused(f"There is no state in {name} that could be copied.", hint=hint)


def _url_of(file: Path) -> str:
    return f"sqlite:///{quote(str(file.absolute()))}"


def _expect_place(file: Path, source: Database, *, force: bool) -> None:
    """Raises UserMistake where a backup may not be written."""
    try:
        expect_no_links(file.absolute())
    except OSError as error:
        raise _cannot_write(file, str(error.strerror)) from None
    if file.is_symlink():
        raise _cannot_write(file, "it is a link")
    if file.exists():
        if source.file is not None and file.samefile(source.file):
            raise UserMistake(f"{file} is the state itself.", hint="Name another file.")
        if not file.is_file():
            raise _cannot_write(file, "it is not a file")
        if not force:
            raise UserMistake(f"{file} is there already.", hint="Name another, or add --force.")


def _cannot_write(file: Path, why: str) -> UserMistake:
    return UserMistake(f"{file} cannot be written: {why}.")


def _expect_no_daemon(state: Database) -> None:
    """Raises InstanceRunning beside a daemon that delivers, which needs no lease for it."""
    if running := read_status(state, utc_now())["instances"]:
        where = ", ".join(f"{one['host']} (pid {one['pid']})" for one in running)
        raise InstanceRunning(
            f"A daemon runs on the state {state.name}: {where}.", hint="Stop it first."
        )


def _copy_into_empty(source: Database, target: Database, progress: Progress) -> Copied:
    _expect_empty(target)
    with instance_lock(target):
        return _copy(source, target, progress, lambda: _expect_no_daemon(source))


def _expect_empty(target: Database) -> None:
    with target.read() as tx:
        found = set(sa.inspect(tx).get_table_names())
        ours = {"alembic_version", *metadata.tables} if "alembic_version" in found else set()
        full = [table for name, table in metadata.tables.items() if name in found & ours]
        used = {table.name for table in full if _has_rows(tx, table)} | (found - ours)
    if used:
        raise StateRefused(
            f"{target.name} is not empty: it has {', '.join(sorted(used))}; nothing was copied.",
            hint="Name an empty database, or move away what is there.",
        )


def _has_rows(tx: Connection, table: Table) -> bool:
    return tx.execute(select(sa.literal(1)).select_from(table).limit(1)).first() is not None


def _copy(
    source: Database,
    target: Database,
    progress: Progress,
    expect_unused: Callable[[], None] = lambda: None,
) -> Copied:
    """Copies every table and compares what can be read back; commits where all is the same.

    `expect_unused` raises where that would be too late.
    """
    with source.read() as reading, target.begin() as tx:
        if reading.dialect.name == "postgresql":
            with source.translating_errors():
                reading.exec_driver_sql(_ONE_SNAPSHOT)
        make_tables(tx)
        read = {}
        for table in metadata.sorted_tables:
            content = Content()
            for rows in _batches(source, reading, table, progress, "copied"):
                names = table.c.keys()
                tx.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
                content = content.plus(rows)
            read[table] = content
        for table, content in read.items():
            found = Content()
            for rows in _batches(target, tx, table, progress, "compared"):
                found = found.plus(rows)
            _expect_same(table, content, found, target)
            _set_sequence(tx, table)
        expect_unused()
    return {table.name: content.rows for table, content in read.items()}


def _batches(
    database: Database, tx: Connection, table: Table, progress: Progress, verb: str
) -> Iterator[list[tuple[Any, ...]]]:
    """Yields the rows of a table. Raises StateUnavailable."""
    with database.translating_errors():
        total = tx.execute(select(sa.func.count()).select_from(table)).scalar_one()
        result = tx.execute(select(table), execution_options={"yield_per": BATCH})
        done = 0
        for part in result.partitions():
            rows = [tuple(row) for row in part]
            yield rows
            done += len(rows)
            progress(f"{table.name} {verb}", done, total)


def _expect_same(table: Table, read: Content, found: Content, target: Database) -> None:
    if read != found:
        raise StateUnavailable(
            f"What {target.name} gives back of the table {table.name} is not what was written"
            f" ({read.rows:,} rows written, {found.rows:,} read); nothing was copied.",
            hint="Look for a trigger or rule there, and for errors of its disk or memory.",
        )


def _set_sequence(tx: Connection, table: Table) -> None:
    """Has PostgreSQL number new rows after those that were copied."""
    column = table.autoincrement_column
    if tx.dialect.name == "postgresql" and column is not None:
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        tx.execute(select(sa.func.setval(sa.cast(sequence, REGCLASS), sa.func.max(column))))
