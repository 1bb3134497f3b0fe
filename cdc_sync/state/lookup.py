"""What people look up in the contract table, and the references that they import into it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.sql.elements import ColumnElement

from cdc_sync.contract import REFUSED, Problem, Reference, SourceId, Status, problems_to_json
from cdc_sync.rules.compare import IMPORTED
from cdc_sync.state.contracts import MAY_BE_SENT
from cdc_sync.state.tables import among, contract, fetch_dicts, has_status

_KEY_LENGTH = 60  # characters of an account that the index knows, with its first quote
_GREATEST = "\U0010ffff"
_NOT_MET = problems_to_json([Problem("", "imported; it has not been in the source yet")])
_PAGE = 1000
_LOCK_TIMEOUT = "30s"  # as long as SQLite waits for its write lock
#: What belongs to a reference and not to the row that it came from.
_HELD = ("reference", "acknowledged", "acknowledged_at", "in_doubt")
_THIS = contract.c.source_id == bindparam("id")
_FREE = (
    sa.update(contract)
    .where(_THIS, contract.c.reference != bindparam("name"))
    .values(reference=sa.null())
)
_ASSIGN = (
    sa.update(contract).where(_THIS).values(reference=bindparam("name"), acknowledged=IMPORTED)
)


class Stuck(NamedTuple):
    """A contract that is rejected or waits for its account, and why."""

    source_id: SourceId
    reference: str | None
    http_status: int | None
    last_error: str | None
    payload: str


def find_by_account(
    tx: Connection, beginning: str, status: Status | None, limit: int
) -> list[dict[str, Any]]:
    """Returns contracts whose account begins so, in order of their account; case does not matter.

    With a status those of it alone.
    """
    # As the payload has it: JSON, after its first quote.
    sought = json.dumps(beginning, ensure_ascii=False)[:-1][:_KEY_LENGTH]
    key = _account_key(tx)
    lowest = sa.func.lower(sought)
    query = (
        select(contract)
        .where(key >= lowest, key < lowest.concat(_GREATEST))
        .order_by(key, contract.c.source_id)
        .limit(limit)
    )
    if status is not None:
        query = query.where(contract.c.status == status.value)
    return fetch_dicts(tx, query)


def list_stuck(tx: Connection, status: Status, limit: int) -> Iterator[Stuck]:
    """Yields contracts of this status in order of their id, with what refusals are grouped by."""
    columns = (getattr(contract.c, name) for name in Stuck._fields)
    query = select(*columns).where(has_status(status)).order_by(contract.c.source_id).limit(limit)
    for row in tx.execute(query):
        yield Stuck(*row)


def _account_key(tx: Connection) -> ColumnElement[str]:
    # As the migration has it, or the index is of no use.
    key = sa.func.lower(
        sa.func.substr(contract.c.payload, sa.literal_column("12"), sa.literal_column("60")),
        type_=sa.Text(),
    )
    return key.collate("C") if tx.dialect.name == "postgresql" else key


class ReferencePair(NamedTuple):
    """A contract and its reference in CustomerGauge."""

    source_id: SourceId
    reference: Reference


class StoredReference(NamedTuple):
    """What the state holds of a source id.

    `sent`: a PUT under its reference has left, or may have; `refused_by_us`: our own rules do.
    """

    reference: Reference | None
    sent: bool
    refused_by_us: bool


def lock_table(tx: Connection) -> None:
    """Keeps polls from recording and delivery from claiming until the end of `tx`.

    Without it a claim on PostgreSQL could send a reference that is being replaced. SQLite's
    writers wait for each other anyway.
    """
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        tx.exec_driver_sql("LOCK TABLE contract IN ACCESS EXCLUSIVE MODE")


def stream_references(tx: Connection) -> Iterator[ReferencePair]:
    """Yields what CustomerGauge holds, or may hold, in order of its id, never all in memory."""
    query = (
        select(contract.c.source_id, contract.c.reference)
        .where(contract.c.reference.is_not(None), MAY_BE_SENT)
        .order_by(contract.c.source_id)
    )
    for row in tx.execute(query.execution_options(yield_per=_PAGE)):
        yield ReferencePair(row[0], row[1])


def find_stored(tx: Connection, ids: Iterable[SourceId]) -> dict[SourceId, StoredReference]:
    """Returns what the state holds of those of these ids that it knows."""
    rows = tx.execute(
        select(
            contract.c.source_id,
            contract.c.reference,
            sa.or_(MAY_BE_SENT, contract.c.claimed_by.is_not(None)),
            sa.and_(has_status(*REFUSED), contract.c.http_status.is_(None)),
        ).where(among(tx, contract.c.source_id, ids))
    )
    return {row[0]: StoredReference(row[1], bool(row[2]), bool(row[3])) for row in rows}


def insert_imported(tx: Connection, new: Sequence[ReferencePair], now: datetime) -> None:
    """Adds contracts that the source has not shown yet: gone until it does, and never sent."""
    values = {
        "payload": IMPORTED,
        "acknowledged": IMPORTED,
        "status": Status.GONE.value,
        "attempts": 0,
        "last_error": _NOT_MET,
        "first_seen_at": now,
        "changed_at": now,
    }
    if new:
        tx.execute(contract.insert(), [{**pair._asdict(), **values} for pair in new])


def hand_over(tx: Connection, old: SourceId, new: SourceId, now: datetime) -> None:
    """Gives a contract the reference of another, with what CustomerGauge holds under it.

    Where the two payloads differ it is due now. One that the source has not shown yet is gone.
    """
    rows = fetch_dicts(tx, select(contract).where(contract.c.source_id.in_([old, new])))
    giving = next(row for row in rows if row["source_id"] == old)
    taken = {name: giving[name] for name in _HELD}
    # First, for a reference has one owner at any time.
    tx.execute(_update_one(old).values(**dict.fromkeys(_HELD)))
    taking = next((row for row in rows if row["source_id"] == new), None)
    if taking is None:
        insert_imported(tx, [ReferencePair(new, giving["reference"])], now)
        tx.execute(_update_one(new).values(**taken, payload=giving["payload"]))
        return
    is_held = not giving["in_doubt"] and taking["payload"] == giving["acknowledged"]
    settled = {
        "status": (Status.SYNCED if is_held else Status.PENDING).value,
        "next_attempt_at": None if is_held else now,
        "attempts": 0,
        "last_error": None,
        "http_status": None,
        "gone_at": None,
        "changed_at": now,
    }
    tx.execute(_update_one(new).values(**taken, **settled))


def _update_one(source_id: SourceId) -> sa.Update:
    return sa.update(contract).where(contract.c.source_id == source_id)


def assign_references(tx: Connection, known: Sequence[ReferencePair]) -> None:
    """Gives contracts that were never sent the references under which CustomerGauge has them."""
    if not known:
        return
    given = [{"id": pair.source_id, "name": pair.reference} for pair in known]
    tx.execute(_FREE, given)  # two of them may change places
    tx.execute(_ASSIGN, given)
