"""The contract table as delivery sees it: the outbox. Latest payload wins."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, bindparam, case, select
from sqlalchemy.sql.elements import ColumnElement

from cdc_sync.contract import Payload, Problem, SourceId, Status, problems_to_json
from cdc_sync.rules.backoff import LONGEST
from cdc_sync.rules.outcome import ACCOUNT_LONGEST, Claimed, Settlement
from cdc_sync.state.columns import among
from cdc_sync.state.tables import contract

_LONGEST_WAIT = max(LONGEST, ACCOUNT_LONGEST) + timedelta(minutes=1)
_WAITS = (contract.c.next_attempt_at.is_not(None), contract.c.claimed_by.is_(None))
_TAKEN = (
    contract.c.source_id,
    contract.c.reference,
    contract.c.payload,
    contract.c.acknowledged,
    contract.c.status,
    contract.c.attempts,
    contract.c.next_attempt_at,
    contract.c.in_doubt,
    contract.c.changed_at,
)


# Further away than any wait there is: our clock was wrong once, so it counts as due.
_IS_DUE = sa.or_(
    contract.c.next_attempt_at <= bindparam("now"), contract.c.next_attempt_at > bindparam("far")
)
_DUE = select(*_TAKEN).where(*_WAITS, _IS_DUE).limit(bindparam("most"))
_BY_NEED = _DUE.order_by(contract.c.next_attempt_at, contract.c.source_id)
_AT_RANDOM = _DUE.order_by(sa.func.random())
_COUNT_DUE = select(sa.func.count()).select_from(contract).where(*_WAITS, _IS_DUE)
_NEXT_DUE = (
    select(contract.c.next_attempt_at).where(*_WAITS).order_by(contract.c.next_attempt_at).limit(1)
)


def due(
    tx: Connection, now: datetime, limit: int, *, at_random: bool = False
) -> Iterable[Row[Any]]:
    """The contracts to be sent now, in order of need."""
    query = _AT_RANDOM if at_random else _BY_NEED
    return tx.execute(query, _as_of(now) | {"most": limit})


def count_due(tx: Connection, now: datetime) -> int:
    """How many contracts are to be sent now."""
    return int(tx.execute(_COUNT_DUE, _as_of(now)).scalar_one())


def next_due_at(tx: Connection) -> datetime | None:
    """When the next contract is due; None where none waits."""
    found: datetime | None = tx.execute(_NEXT_DUE).scalar()
    return found


def _as_of(now: datetime) -> dict[str, Any]:
    return {"now": now, "far": now + _LONGEST_WAIT}


def claim(  # one argument a column
    tx: Connection,
    now: datetime,
    limit: int,
    owner: str,
    until: datetime,
    *,
    at_random: bool = False,
) -> list[Claimed]:
    """Takes contracts for delivery: in doubt from the commit of `tx` on, until acknowledged."""
    if limit <= 0:
        return []
    taken = [_claimed(row) for row in due(tx, now, limit, at_random=at_random)]
    if taken:
        ids = [claimed.source_id for claimed in taken]
        tx.execute(
            sa.update(contract)
            .where(among(tx, contract.c.source_id, ids))
            .values(claimed_by=owner, claimed_until=until, in_doubt=now)
        )
    return taken


def _claimed(row: Any) -> Claimed:
    source_id, reference, payload, acknowledged, status, *rest = row
    return Claimed(source_id, reference, payload, acknowledged, Status(status), *rest)


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Records what came of claims, and ends them.

    What was seen in the source meanwhile stays: a newer payload keeps its status and is due.
    """
    accepted = [_accepted(s) for s in settlements if s.acknowledged]
    others = [_other(s) for s in settlements if not s.acknowledged]
    if accepted:
        tx.execute(_SETTLE_ACCEPTED, accepted)
    if others:
        tx.execute(_SETTLE_OTHER, others)


def release(tx: Connection, unsent: Sequence[Claimed]) -> None:
    """Gives claims back whose PUT never left: they stand as before the claim."""
    if unsent:
        tx.execute(_RELEASE, [{"id": c.source_id, "doubt": c.in_doubt} for c in unsent])


def free_all(tx: Connection) -> int:
    """Ends the claims of processes that died; what was to be sent is due, and still in doubt."""
    # next_attempt_at stays as it is: what was refused, held or gone meanwhile has none.
    return tx.execute(
        sa.update(contract).where(contract.c.claimed_by.is_not(None)).values(_FREE)
    ).rowcount


def free_others(tx: Connection, owner: str, in_flight: Iterable[SourceId]) -> int:
    """Ends the claims of an owner, but for those that are on their way."""
    return tx.execute(
        sa.update(contract)
        .where(contract.c.claimed_by == owner)
        .where(sa.not_(among(tx, contract.c.source_id, in_flight)))
        .values(_FREE)
    ).rowcount


def waiting_payloads(tx: Connection) -> Iterable[Payload]:
    """What waits for its account."""
    query = select(contract.c.payload).where(contract.c.status == Status.WAITING.value)
    return (Payload(row[0]) for row in tx.execute(query))


def account_is_there(tx: Connection, start: str, now: datetime) -> None:
    """What waits for its account and has a payload that begins so is due now."""
    change = sa.update(contract).where(_waits_with(start))
    tx.execute(change.values(status=Status.PENDING.value, attempts=0, next_attempt_at=now))


def account_is_refused(tx: Connection, start: str, problems: Sequence[Problem]) -> None:
    """Tells those that wait why their account cannot be made."""
    change = sa.update(contract).where(_waits_with(start))
    tx.execute(change.values(last_error=problems_to_json(problems)))


def _waits_with(start: str) -> ColumnElement[bool]:
    # Not LIKE, to which ACME and acme are one on SQLite.
    begins = sa.func.substr(contract.c.payload, 1, len(start)) == start
    return sa.and_(contract.c.status == Status.WAITING.value, begins)


def retry(tx: Connection, ids: Sequence[SourceId] | None, now: datetime) -> int:
    """Makes rejected, waiting and backing-off contracts due now; None: all of them.

    One that our own rules refuse has nothing that could be sent, and stays as it is.
    """
    stuck = sa.or_(
        contract.c.status == Status.WAITING.value,
        sa.and_(contract.c.status == Status.REJECTED.value, contract.c.http_status.is_not(None)),
        sa.and_(contract.c.status == Status.PENDING.value, contract.c.attempts > 0),
    )
    return _make_due(tx, ids, now, stuck)


def resend(tx: Connection, ids: Sequence[SourceId] | None, now: datetime) -> int:
    """Makes synced contracts due once more, although CustomerGauge acknowledged them."""
    return _make_due(tx, ids, now, contract.c.status == Status.SYNCED.value)


def _make_due(
    tx: Connection, ids: Sequence[SourceId] | None, now: datetime, which: ColumnElement[bool]
) -> int:
    change = (
        sa.update(contract)
        .where(which, contract.c.reference.is_not(None))
        .values(status=Status.PENDING.value, attempts=0, next_attempt_at=now)
    )
    if ids is not None:
        change = change.where(among(tx, contract.c.source_id, ids))
    return tx.execute(change).rowcount


def _accepted(settlement: Settlement) -> dict[str, object]:
    return {
        "id": settlement.claimed.source_id,
        "sent": settlement.claimed.payload,
        "due": settlement.next_attempt_at,
        "doubt": settlement.in_doubt,
        "http": settlement.http_status,
        "at": settlement.at,
    }


def _other(settlement: Settlement) -> dict[str, object]:
    return {
        "id": settlement.claimed.source_id,
        "sent": settlement.claimed.payload,
        "settled": settlement.status.value,
        "tries": settlement.attempts,
        "due": settlement.next_attempt_at,
        "doubt": settlement.in_doubt,
        "http": settlement.http_status,
        "error": problems_to_json(settlement.problems) if settlement.problems else None,
    }


def _literally(status: Status) -> ColumnElement[str]:
    # A bound value would be bound anew for each row of an executemany.
    return sa.literal_column(f"'{status}'", sa.Text())


_SENDABLE = (Status.PENDING, Status.WAITING, Status.SYNCED)
# Nothing newer was seen in the source while this payload was on its way.
_AS_SENT = sa.and_(
    contract.c.payload == bindparam("sent"),
    contract.c.held_run.is_(None),
    contract.c.status.in_([_literally(status) for status in _SENDABLE]),
)
_FREE: dict[str, object] = {"claimed_by": sa.null(), "claimed_until": sa.null()}


def _if_as_sent(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((_AS_SENT, bindparam(name, type_=column.type)), else_=column)


_ENDED = sa.and_(_AS_SENT, contract.c.gone_at.is_not(None))
_SETTLE_ACCEPTED = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"))
    .values(
        _FREE
        | {
            "acknowledged": bindparam("sent"),
            "acknowledged_at": bindparam("at", type_=contract.c.acknowledged_at.type),
            "in_doubt": bindparam("doubt", type_=contract.c.in_doubt.type),
            "status": case(
                (_ENDED, _literally(Status.GONE)),
                (_AS_SENT, _literally(Status.SYNCED)),
                else_=contract.c.status,
            ),
            "attempts": case((_AS_SENT, sa.literal_column("0")), else_=contract.c.attempts),
            "next_attempt_at": _if_as_sent("due", contract.c.next_attempt_at),
            "http_status": _if_as_sent("http", contract.c.http_status),
            "last_error": case((_AS_SENT, sa.null()), else_=contract.c.last_error),
        }
    )
)
_SETTLE_OTHER = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"))
    .values(
        _FREE
        | {
            "in_doubt": bindparam("doubt", type_=contract.c.in_doubt.type),
            "status": _if_as_sent("settled", contract.c.status),
            "attempts": _if_as_sent("tries", contract.c.attempts),
            "next_attempt_at": _if_as_sent("due", contract.c.next_attempt_at),
            "http_status": _if_as_sent("http", contract.c.http_status),
            "last_error": _if_as_sent("error", contract.c.last_error),
        }
    )
)
_RELEASE = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"))
    .values(_FREE | {"in_doubt": bindparam("doubt", type_=contract.c.in_doubt.type)})
)
