"""What came of claims, written down: in groups, by the claim's owner alone."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, Update, case, select

from cdc_sync.contract import SourceId, Status, problems_to_json
from cdc_sync.rules.outcome import Claimed, Settlement
from cdc_sync.state.columns import among, in_one_order
from cdc_sync.state.given import ForRows
from cdc_sync.state.tables import contract

FREE: dict[str, object] = {"claimed_by": sa.null(), "claimed_until": sa.null()}


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Records what came of claims, and ends them.

    What was seen in the source meanwhile stays: a newer payload keeps its status and is due.
    An answer that came after its claim was lost to another daemon puts the contract in doubt.
    """
    ours = _still_ours(tx, [s.claimed for s in settlements])
    accepted = [_row(s) for s in settlements if s.acknowledged and s.claimed.source_id in ours]
    others = [_row(s) for s in settlements if not s.acknowledged and s.claimed.source_id in ours]
    late = [
        _row(s)
        for s in settlements
        if s.claimed.source_id not in ours and (s.acknowledged or s.in_doubt is not None)
    ]
    _SETTLE_LATE.execute(tx, late)
    _SETTLE_ACCEPTED.execute(tx, accepted)
    _SETTLE_OTHER.execute(tx, others)


def release(tx: Connection, unsent: Sequence[Claimed]) -> None:
    """Gives claims back whose PUT never left: they stand as before the claim."""
    ours = _still_ours(tx, unsent)
    _RELEASE.execute(tx, [_unsent(claimed) for claimed in unsent if claimed.source_id in ours])


def _still_ours(tx: Connection, claims: Sequence[Claimed]) -> set[SourceId]:
    """Those whose claim is still their owner's; on SQLite nobody else can have taken it."""
    if not claims or tx.dialect.name == "sqlite":
        return {claimed.source_id for claimed in claims}
    # Locked in one order everywhere, so that two daemons never wait for each other.
    ids = [claimed.source_id for claimed in claims]
    query = (
        select(contract.c.source_id, contract.c.claimed_by)
        .where(among(tx, contract.c.source_id, ids))
        .order_by(in_one_order(tx, contract.c.source_id))
        .with_for_update()
    )
    return {SourceId(row[0]) for row in tx.execute(query) if row[1] == claims[0].owner}


def _row(settlement: Settlement) -> dict[str, object]:
    return {
        "id": settlement.claimed.source_id,
        "claimed": settlement.claimed.claimed_at,
        "sent": settlement.claimed.payload,
        "settled": settlement.status,
        "tries": settlement.attempts,
        "due": settlement.next_attempt_at,
        "doubt": settlement.in_doubt,
        "http": settlement.http_status,
        "error": problems_to_json(settlement.problems) if settlement.problems else None,
        "at": settlement.at,
    }


def _unsent(claimed: Claimed) -> dict[str, object]:
    return {
        "id": claimed.source_id,
        "claimed": claimed.claimed_at,
        "sent": claimed.payload,
        "doubt": claimed.in_doubt,
    }


_INSTANT = contract.c.in_doubt.type
_COLUMNS = {
    "id": sa.Text(),
    "claimed": _INSTANT,
    "sent": sa.Text(),
    "settled": sa.Text(),
    "tries": sa.Integer(),
    "due": _INSTANT,
    "doubt": _INSTANT,
    "http": sa.Integer(),
    "error": sa.Text(),
    "at": _INSTANT,
}
_SENDABLE = (Status.PENDING, Status.WAITING, Status.SYNCED)
_IS_SENDABLE = contract.c.status.in_([status.value for status in _SENDABLE])


def _as_sent(given: FromClause) -> ColumnElement[bool]:
    """Nothing newer was seen in the source while this payload was on its way."""
    return sa.and_(contract.c.payload == given.c.sent, contract.c.held_run.is_(None), _IS_SENDABLE)


def _newer_doubt(given: FromClause) -> ColumnElement[bool]:
    """Another's late answer has put it in doubt since it was claimed: it goes once more."""
    return contract.c.in_doubt > given.c.claimed


def _doubt_after(given: FromClause) -> ColumnElement[Any]:
    return case((_newer_doubt(given), contract.c.in_doubt), else_=given.c.doubt)


def _is_back(given: FromClause) -> ColumnElement[bool]:
    """The source went back to what CustomerGauge holds, and what was on its way was not applied.

    The claim's doubt alone made it pending.
    """
    return sa.and_(
        contract.c.payload != given.c.sent,
        contract.c.payload == contract.c.acknowledged,
        contract.c.status == Status.PENDING.value,
        contract.c.held_run.is_(None),
        contract.c.gone_at.is_(None),
        _doubt_after(given).is_(None),
    )


def _accepted(given: FromClause) -> Update:
    as_sent, once_more = _as_sent(given), sa.and_(_as_sent(given), _newer_doubt(given))
    ended = sa.and_(as_sent, contract.c.gone_at.is_not(None))
    return _of(given).values(
        FREE
        | {
            "acknowledged": given.c.sent,
            "acknowledged_at": given.c.at,
            "in_doubt": _doubt_after(given),
            "status": case(
                (once_more, Status.PENDING.value),
                (ended, Status.GONE.value),
                (as_sent, Status.SYNCED.value),
                else_=contract.c.status,
            ),
            "attempts": case((as_sent, 0), else_=contract.c.attempts),
            "next_attempt_at": case(
                (once_more, given.c.at), (as_sent, given.c.due), else_=contract.c.next_attempt_at
            ),
            "http_status": case((as_sent, given.c.http), else_=contract.c.http_status),
            "last_error": case((as_sent, sa.null()), else_=contract.c.last_error),
        }
    )


def _other(given: FromClause) -> Update:
    as_sent, back = _as_sent(given), _is_back(given)
    return _of(given).values(
        FREE
        | {
            "in_doubt": _doubt_after(given),
            "status": case(
                (as_sent, given.c.settled),
                (back, Status.SYNCED.value),
                else_=contract.c.status,
            ),
            "attempts": case((as_sent, given.c.tries), else_=contract.c.attempts),
            "next_attempt_at": case(
                (as_sent, given.c.due), (back, sa.null()), else_=contract.c.next_attempt_at
            ),
            "http_status": case((as_sent, given.c.http), else_=contract.c.http_status),
            "last_error": case((as_sent, given.c.error), else_=contract.c.last_error),
        }
    )


def _late(given: FromClause) -> Update:
    return _of(given).values(
        in_doubt=given.c.at,
        status=case((_IS_SENDABLE, Status.PENDING.value), else_=contract.c.status),
        next_attempt_at=case((_IS_SENDABLE, given.c.at), else_=contract.c.next_attempt_at),
    )


def _released(given: FromClause) -> Update:
    back = _is_back(given)
    return _of(given).values(
        FREE
        | {
            "in_doubt": _doubt_after(given),
            "status": case((back, Status.SYNCED.value), else_=contract.c.status),
            "next_attempt_at": case((back, sa.null()), else_=contract.c.next_attempt_at),
        }
    )


def _of(given: FromClause) -> Update:
    return sa.update(contract).where(contract.c.source_id == given.c.id)


_SETTLE_ACCEPTED = ForRows(_COLUMNS, _accepted)
_SETTLE_OTHER = ForRows(_COLUMNS, _other)
_SETTLE_LATE = ForRows(_COLUMNS, _late)
_RELEASE = ForRows(_COLUMNS, _released)
