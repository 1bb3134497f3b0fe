"""The contract table as capture sees it: what is known, and what a page changed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Select,
    Update,
    bindparam,
    select,
)
from sqlalchemy.dialects import postgresql

from cdc_sync.contract import (
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
from cdc_sync.state.tables import BulkStatement, Columns, among, contract, in_one_order, listed

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


def _unlike(given: FromClause) -> Select[Any]:
    is_alike = sa.and_(
        contract.c.status == Status.SYNCED.value, contract.c.payload == given.c.payload
    )
    return (
        select(*KNOWN, given.c.id)
        .select_from(given.outerjoin(contract, contract.c.source_id == given.c.id))
        .where(sa.func.coalesce(is_alike, sa.false()).is_(sa.false()))
    )


_SEEN = sa.table("seen", sa.column("source_id", sa.Text))  #: temporary, of `SeenIds`
_COLUMNS: Columns = {
    "source_id": sa.Text(),
    "reference": sa.Text(),
    "payload": sa.Text(),
    "status": sa.Text(),
    "last_error": sa.Text(),
    "held_run": sa.Integer(),
    "is_due": sa.Boolean(),
    "is_gone": sa.Boolean(),
}


def _inserted(given: FromClause) -> Insert:
    new = _written(given)
    new |= {"source_id": given.c.source_id, "first_seen_at": new["changed_at"]}
    return contract.insert().from_select(list(new), select(*new.values()))


def _updated(given: FromClause) -> Update:
    stays_held = sa.and_(
        contract.c.status == Status.HELD.value, given.c.status == Status.HELD.value
    )
    held_run = sa.case((stays_held, contract.c.held_run), else_=given.c.held_run)
    change = sa.update(contract).where(contract.c.source_id == given.c.source_id)
    return change.values(_written(given) | {"held_run": held_run})


def find_rows(tx: Connection, ids: Iterable[SourceId]) -> dict[SourceId, KnownRow]:
    """What the state holds of these ids, as raw rows: `as_known` makes a value of one."""
    rows = tx.execute(select(*KNOWN).where(among(tx, contract.c.source_id, ids))).all()
    return {row[0]: row for row in rows}


def find_differing(
    tx: Connection, payloads: Mapping[SourceId, Payload | None]
) -> dict[SourceId, KnownRow | None]:
    """Those that are not synced with just this payload: what is known of each, None of a new one.

    One whose payload is given as None is always among them. The database compares, so that what
    has not changed, which is nearly all of a scan, never comes here.
    """
    rows = _UNLIKE.rows(tx, [{"id": name, "payload": text} for name, text in payloads.items()])
    return {row[-1]: row if row[0] is not None else None for row in rows}


def lock_rows(tx: Connection, ids: Iterable[SourceId]) -> dict[SourceId, KnownRow]:
    """As `known`, and no delivery changes them before `tx` ends, where that may be another's.

    Nothing where there is none: on SQLite, and for one who only reads.
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


def to_known(row: KnownRow) -> Known:
    """The value of a raw row."""
    status = Status(row.status)
    return Known(
        row.source_id,
        row.reference,
        row.payload,
        row.acknowledged,
        status,
        problems_from_json(row.last_error) if status is Status.REJECTED else (),
        refused_by_us=status is Status.REJECTED and row.http_status is None,
        in_doubt=row.in_doubt is not None,
        ends_gone=status is not Status.GONE and row.gone_at is not None,
    )


def find_owners(tx: Connection, references: Iterable[Reference]) -> dict[Reference, SourceId]:
    """Whose these references are, as far as they are somebody's."""
    rows = tx.execute(
        select(contract.c.reference, contract.c.source_id).where(
            among(tx, contract.c.reference, references)
        )
    )
    return {row[0]: row[1] for row in rows}


def find(tx: Connection, id_or_reference: str) -> dict[str, Any] | None:
    """All columns of one contract, by source id, or else by reference."""
    names = {id_or_reference, canonical_id(id_or_reference)}
    for column in (contract.c.source_id, contract.c.reference):
        row = tx.execute(select(contract).where(column.in_(names))).mappings().first()
        if row is not None:
            return dict(row)
    return None


def list_page(
    tx: Connection, status: Status | None, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Contracts in order of their id, after a cursor, all columns."""
    query = select(contract).order_by(contract.c.source_id).limit(limit)
    if status is not None:
        query = query.where(contract.c.status == status.value)
    if status not in (None, Status.SYNCED):
        query = query.where(sa.text("status <> 'synced'"))  # the small index is for these
    if after is not None:
        query = query.where(contract.c.source_id > after)
    return [dict(row) for row in tx.execute(query).mappings()]


def count_by_status(tx: Connection) -> dict[Status, int]:
    """How many contracts stand where; synced is what the small index does not hold."""
    rows = tx.execute(
        select(contract.c.status, sa.func.count())
        .where(sa.text("status <> 'synced'"))
        .group_by(contract.c.status)
    )
    found = {Status(row[0]): int(row[1]) for row in rows}
    total = int(tx.execute(select(sa.func.count()).select_from(contract)).scalar_one())
    found[Status.SYNCED] = total - sum(found.values())
    return {status: found.get(status, 0) for status in Status}


def find_example_error(tx: Connection, status: Status) -> str | None:
    """Why one of these contracts stands there; None where none says."""
    has_error = (contract.c.status == status.value, contract.c.last_error.is_not(None))
    text = tx.execute(select(contract.c.last_error).where(*has_error).limit(1)).scalar()
    return "; ".join(problem.message for problem in problems_from_json(text)) or None


def count_departing(tx: Connection) -> dict[Status, int]:
    """Those of `counts` whose row is gone from the source: to be ended, or held by the guard."""
    query = (
        select(contract.c.status, sa.func.count())
        .where(sa.text("status <> 'synced'"), contract.c.status != Status.GONE.value)
        .where(contract.c.gone_at.is_not(None))
        .group_by(contract.c.status)
    )
    return {Status(row[0]): int(row[1]) for row in tx.execute(query)}


def count_with_status(tx: Connection, status: Status) -> int:
    """How many contracts stand there, of any status but synced, by the small index alone."""
    query = select(sa.func.count()).where(
        contract.c.status == status.value, sa.text("status <> 'synced'")
    )
    return int(tx.execute(query).scalar_one())


def count_known(tx: Connection, most: int | None = None) -> int:
    """How many contracts CustomerGauge holds as far as we know; counted no further than `most`."""
    held = select(contract.c.source_id).where(
        contract.c.acknowledged.is_not(None), contract.c.status != Status.GONE.value
    )
    counted = held if most is None else held.limit(most)
    return int(tx.execute(select(sa.func.count()).select_from(counted.subquery())).scalar_one())


def has_sent_any(tx: Connection) -> bool:
    """Whether CustomerGauge holds, or may hold, any of them."""
    sent = sa.or_(contract.c.acknowledged.is_not(None), contract.c.in_doubt.is_not(None))
    return tx.execute(select(contract.c.source_id).where(sent).limit(1)).first() is not None


def resolve_names(tx: Connection, ids: Iterable[str]) -> tuple[list[SourceId], list[str]]:
    """The source ids that people mean by ids or references, and those that are nobody's."""
    found: list[SourceId] = []
    unknown: list[str] = []
    for name in ids:
        row = find(tx, name)
        if row is None:
            unknown.append(name)
        else:
            found.append(SourceId(row["source_id"]))
    return found, unknown


def _list_missing(tx: Connection, after: SourceId | None, limit: int) -> list[KnownRow]:
    """Known contracts that the sweep did not meet and that are not gone, in order of id."""
    query = (
        select(*KNOWN)
        .where(contract.c.status != Status.GONE.value)
        .where(contract.c.source_id.not_in(select(_SEEN.c.source_id)))
        .order_by(contract.c.source_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(contract.c.source_id > after)
    return list(tx.execute(query))


def record_changes(tx: Connection, changes: Sequence[Change], now: datetime) -> None:
    """Writes what a page changed; what is pending is due at once, with no attempts.

    What a run keeps until it is judged is due to nobody; what was held and stays held keeps the
    run that holds it.
    """
    new = [_row(change) for change in changes if change.known is None]
    old = [_row(change) for change in changes if change.known is not None]
    _INSERT.execute(tx, new, now=now)
    _UPDATE.execute(tx, old, now=now)


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


def _written(given: FromClause) -> dict[str, ColumnElement[Any]]:
    now = bindparam("now", type_=contract.c.changed_at.type)
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


class SeenIds:
    """The ids that a scan met; lives as long as its connection. Raises StateUnavailable."""

    def __init__(self, state: Database, connection: Connection) -> None:
        self._state = state
        self._connection = connection
        self.count = 0

    def add(self, ids: Iterable[SourceId]) -> None:
        """Notes a page's ids."""
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
        """The known contracts that are not gone and were not met, in pages."""
        after: SourceId | None = None
        while page := self._missing_page(after, page_size):
            after = page[-1].source_id
            yield page

    def _missing_page(self, after: SourceId | None, page_size: int) -> list[KnownRow]:
        with self._state.translating_errors():
            page = _list_missing(self._connection, after, page_size)
            self._connection.rollback()  # no view of the state is held open between pages
            return page


@contextmanager
def open_seen_ids(state: Database) -> Iterator[SeenIds]:
    """A sweep of its own; nothing of it is left behind. Raises StateUnavailable."""
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


_UNLIKE = BulkStatement({"id": sa.Text(), "payload": sa.Text()}, _unlike)
_INSERT = BulkStatement(_COLUMNS, _inserted)
_UPDATE = BulkStatement(_COLUMNS, _updated)
