"""The contract table as capture and the commands see it.

Capture asks what the state holds of a page of rows, writes what changed, and finds the contracts
that a full scan did not see. The commands list, find and count. What delivery does with the same
table is in `state.outbox`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, select
from sqlalchemy.dialects import postgresql

from cdc_sync.contract import (
    REFUSED,
    Known,
    Payload,
    Reference,
    SourceId,
    Status,
    canonical_id,
    problems_from_json,
    problems_to_json,
)
from cdc_sync.rules.compare import Change
from cdc_sync.state.database import Database, is_for_reading
from cdc_sync.state.tables import (
    IS_NOT_SYNCED,
    Columns,
    among,
    bulk_statement,
    contract,
    fetch_dicts,
    has_contract,
    has_status,
    in_one_order,
    listed,
    page_by_id,
)

KNOWN = (
    contract.c.source_id,
    contract.c.reference,
    contract.c.payload,
    contract.c.acknowledged,
    contract.c.status,
    contract.c.last_error,
    contract.c.http_status,
    contract.c.in_doubt,
    contract.c.gone_at,
)
KnownRow: TypeAlias = Any  # a raw row of the columns above
#: The contracts that CustomerGauge holds, or may hold.
MAY_BE_SENT = sa.or_(contract.c.acknowledged.is_not(None), contract.c.in_doubt.is_not(None))
_SEEN = sa.table("seen", sa.column("source_id", sa.Text))  #: temporary, of `SeenIds`


# What the state holds of a page


def find_rows(tx: Connection, ids: Iterable[SourceId]) -> dict[SourceId, KnownRow]:
    """Returns the raw rows of these ids; `to_known` makes a value of one."""
    rows = tx.execute(select(*KNOWN).where(among(tx, contract.c.source_id, ids))).all()
    return {row[0]: row for row in rows}


def lock_rows(tx: Connection, ids: Iterable[SourceId]) -> dict[SourceId, KnownRow]:
    """Returns the raw rows as `find_rows`, and no delivery changes them before `tx` ends.

    Empty where no other process can change them: on SQLite, and in a transaction for reading.
    """
    if tx.dialect.name == "sqlite" or is_for_reading(tx):
        return {}
    query = (
        select(*KNOWN)
        .where(among(tx, contract.c.source_id, ids))
        .order_by(in_one_order(tx, contract.c.source_id))
        .with_for_update()
    )
    return {row[0]: row for row in tx.execute(query)}


def find_differing(
    tx: Connection, payloads: Mapping[SourceId, Payload | None]
) -> dict[SourceId, KnownRow | None]:
    """Returns the contracts that are not synced with the given payload, None for a new one.

    A payload of None differs from every one. The database compares, because nearly all rows of a
    full scan are unchanged and need not be fetched.
    """
    given = [{"id": name, "payload": text} for name, text in payloads.items()]
    rows = _select_differing.rows(tx, given)
    return {row[-1]: row if row[0] is not None else None for row in rows}


@bulk_statement({"id": sa.Text(), "payload": sa.Text()})
def _select_differing(given: FromClause) -> sa.Select[Any]:
    is_alike = sa.and_(
        contract.c.status == Status.SYNCED.value, contract.c.payload == given.c.payload
    )
    return (
        select(*KNOWN, given.c.id)
        .select_from(given.outerjoin(contract, contract.c.source_id == given.c.id))
        .where(sa.func.coalesce(is_alike, sa.false()).is_(sa.false()))
    )


def to_known(row: KnownRow) -> Known:
    """Returns the value of a raw row."""
    status = Status(row.status)
    return Known(
        row.source_id,
        row.reference,
        row.payload,
        row.acknowledged,
        status,
        problems_from_json(row.last_error) if status in REFUSED else (),
        refused_by_us=status in REFUSED and row.http_status is None,
        in_doubt=row.in_doubt is not None,
        ends_gone=status is not Status.GONE and row.gone_at is not None,
    )


def find_owners(tx: Connection, references: Iterable[Reference]) -> dict[Reference, SourceId]:
    """Returns the source id of each of these references that a contract has."""
    rows = tx.execute(
        select(contract.c.reference, contract.c.source_id).where(
            among(tx, contract.c.reference, references)
        )
    )
    return {row[0]: row[1] for row in rows}


# What a page changed


def record_changes(tx: Connection, changes: Sequence[Change], now: datetime) -> None:
    """Writes what a page changed; pending contracts are due at once, with no attempts.

    Changes that wait for the guard's verdict are not due. A contract that was held and stays held
    keeps the run that holds it.
    """
    new = [_row(change) for change in changes if change.known is None]
    old = [_row(change) for change in changes if change.known is not None]
    _insert.execute(tx, new, now=now)
    _update.execute(tx, old, now=now)


def _row(change: Change) -> dict[str, object]:
    row: dict[str, object] = {
        "source_id": change.source_id,
        "reference": change.reference,
        "payload": change.payload,
        "status": change.status,
    }
    if change.status is Status.PENDING and change.held_run is None:
        row["is_due"] = True
    if change.problems:
        row["last_error"] = problems_to_json(change.problems)
    if change.held_run is not None:
        row["held_run"] = change.held_run
    if change.gone:
        row["is_gone"] = True
    return row


_CHANGED: Columns = {
    "source_id": sa.Text(),
    "reference": sa.Text(),
    "payload": sa.Text(),
    "status": sa.Text(),
    "last_error": sa.Text(),
    "held_run": sa.Integer(),
    "is_due": sa.Boolean(),
    "is_gone": sa.Boolean(),
}


@bulk_statement(_CHANGED)
def _insert(given: FromClause) -> sa.Insert:
    new = _values(given)
    new |= {"source_id": given.c.source_id, "first_seen_at": new["changed_at"]}
    return contract.insert().from_select(list(new), select(*new.values()))


@bulk_statement(_CHANGED)
def _update(given: FromClause) -> sa.Update:
    stays_held = sa.and_(
        contract.c.status == Status.HELD.value, given.c.status == Status.HELD.value
    )
    held_run = sa.case((stays_held, contract.c.held_run), else_=given.c.held_run)
    change = sa.update(contract).where(contract.c.source_id == given.c.source_id)
    return change.values(_values(given) | {"held_run": held_run})


def _values(given: FromClause) -> dict[str, ColumnElement[Any]]:
    now = sa.bindparam("now", type_=contract.c.changed_at.type)
    return {
        "reference": given.c.reference,
        "payload": given.c.payload,
        "status": given.c.status,
        "attempts": sa.literal_column("0"),
        "next_attempt_at": sa.case((given.c.is_due, now)),
        "http_status": sa.null(),
        "last_error": given.c.last_error,
        "held_run": given.c.held_run,
        "changed_at": now,
        "gone_at": sa.case((given.c.is_gone, now)),
    }


# What a full scan did not see


@contextmanager
def open_seen_ids(state: Database) -> Iterator["SeenIds"]:
    """Opens an empty set of ids in a temporary table. Raises StateUnavailable."""
    with state.translating_errors():
        connection = state.engine.connect().execution_options(cdc_sync_read=True)
    try:
        with state.translating_errors():
            connection.exec_driver_sql("CREATE TEMPORARY TABLE seen (source_id TEXT PRIMARY KEY)")
            connection.commit()
        yield SeenIds(state, connection)
    finally:
        connection.invalidate()  # the table goes with the connection, whatever state that is in
        connection.close()


class SeenIds:
    """The ids that a full scan has seen, kept by the database. Raises StateUnavailable."""

    def __init__(self, state: Database, connection: Connection) -> None:
        self._state = state
        self._connection = connection
        self.count = 0

    def add(self, ids: Iterable[SourceId]) -> None:
        """Adds a page's ids."""
        new = listed(self._connection, ids)
        if self._connection.dialect.name == "sqlite":
            statement = sa.insert(_SEEN).from_select(["source_id"], new).prefix_with("OR IGNORE")
        else:
            insert = postgresql.insert(_SEEN).from_select(["source_id"], new)
            statement = insert.on_conflict_do_nothing()
        with self._state.translating_errors():
            # SQLAlchemy forgets how many rows an INSERT made, unless it is asked to.
            counted = statement.execution_options(preserve_rowcount=True)
            self.count += self._connection.execute(counted).rowcount
            self._connection.commit()

    def missing(self, page_size: int) -> Iterator[list[KnownRow]]:
        """Yields pages of the known contracts that are not gone and were not seen."""
        with self._state.translating_errors():
            self._connection.exec_driver_sql("ANALYZE seen")  # no server does it by itself
            self._connection.commit()
        after: SourceId | None = None
        while page := self._missing_page(after, page_size):
            after = page[-1].source_id
            yield page

    def _missing_page(self, after: SourceId | None, limit: int) -> list[KnownRow]:
        # Not NOT IN: beyond its work_mem PostgreSQL would compare each with each.
        is_seen = select(_SEEN.c.source_id).where(_SEEN.c.source_id == contract.c.source_id)
        if after is not None:  # else each page would begin with the first that was seen
            is_seen = is_seen.where(_SEEN.c.source_id > after)
        unseen = select(*KNOWN).where(contract.c.status != Status.GONE.value, ~is_seen.exists())
        with self._state.translating_errors():
            page = list(self._connection.execute(page_by_id(unseen, after, limit)))
            self._connection.rollback()  # no view of the state is held open between pages
            return page


# What people look up


def find(tx: Connection, id_or_reference: str) -> dict[str, Any] | None:
    """Returns all columns of one contract, by source id, or else by reference."""
    names = {id_or_reference, canonical_id(id_or_reference)}
    for column in (contract.c.source_id, contract.c.reference):
        if rows := fetch_dicts(tx, select(contract).where(column.in_(names)).limit(1)):
            return rows[0]
    return None


def resolve_names(tx: Connection, names: Iterable[str]) -> tuple[list[SourceId], list[str]]:
    """Returns the source ids of these ids and references, and the names that no contract has."""
    found: list[SourceId] = []
    unknown: list[str] = []
    for name in names:
        row = find(tx, name)
        if row is None:
            unknown.append(name)
        else:
            found.append(SourceId(row["source_id"]))
    return found, unknown


def list_page(
    tx: Connection, status: Status | None, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Returns all columns of the contracts after a cursor, in order of their id."""
    query = page_by_id(select(contract), after, limit)
    if status is not None:
        is_synced = contract.c.status == Status.SYNCED.value
        query = query.where(is_synced if status is Status.SYNCED else has_status(status))
    return fetch_dicts(tx, query)


def find_example_error(tx: Connection, status: Status) -> str | None:
    """Returns why one of the contracts of this status has it; None where none says."""
    has_error = (has_status(status), contract.c.last_error.is_not(None))
    text = tx.execute(select(contract.c.last_error).where(*has_error).limit(1)).scalar()
    return "; ".join(problem.message for problem in problems_from_json(text)) or None


def count_by_status(tx: Connection) -> dict[Status, int]:
    """Returns how many contracts have each status."""
    found = _count_in_index(tx)
    total = int(tx.execute(select(sa.func.count()).select_from(contract)).scalar_one())
    found[Status.SYNCED] = total - sum(found.values())
    return {status: found.get(status, 0) for status in Status}


def count_departing(tx: Connection) -> dict[Status, int]:
    """Returns how many of each status are gone from the source: to be ended, or held."""
    is_departing = (contract.c.status != Status.GONE.value, contract.c.gone_at.is_not(None))
    return _count_in_index(tx, *is_departing)


def count_with_status(tx: Connection, status: Status) -> int:
    """Returns how many contracts have this status, which is not synced."""
    return _count_in_index(tx, has_status(status)).get(status, 0)


def _count_in_index(tx: Connection, *where: ColumnElement[bool]) -> dict[Status, int]:
    """Counts by status by the small index, which has all contracts but the synced ones."""
    query = select(contract.c.status, sa.func.count()).where(IS_NOT_SYNCED, *where)
    rows = tx.execute(query.group_by(contract.c.status))
    return {Status(row[0]): int(row[1]) for row in rows}


def count_known(tx: Connection, most: int | None = None) -> int:
    """Returns how many contracts CustomerGauge holds, as far as we know, up to `most`."""
    held = select(contract.c.source_id).where(
        contract.c.acknowledged.is_not(None), contract.c.status != Status.GONE.value
    )
    counted = held if most is None else held.limit(most)
    return int(tx.execute(select(sa.func.count()).select_from(counted.subquery())).scalar_one())


def has_sent_any(tx: Connection) -> bool:
    """Returns whether CustomerGauge holds, or may hold, any contract."""
    return has_contract(tx, MAY_BE_SENT)
