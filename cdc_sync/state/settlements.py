"""What came of claims, written down: in groups, by the claim's owner alone."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, case, select
from sqlalchemy.sql.elements import ColumnElement

from cdc_sync.contract import SourceId, Status, problems_to_json
from cdc_sync.rules.outcome import Claimed, Settlement
from cdc_sync.state.columns import among, in_one_order
from cdc_sync.state.tables import contract

FREE: dict[str, object] = {"claimed_by": sa.null(), "claimed_until": sa.null()}


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Records what came of claims, and ends them.

    What was seen in the source meanwhile stays: a newer payload keeps its status and is due.
    An answer that came after its claim was lost to another daemon puts the contract in doubt.
    """
    # In one order everywhere, so that two daemons never wait for each other.
    settlements = sorted(settlements, key=lambda s: s.claimed.source_id)
    ours = _still_ours(tx, [s.claimed for s in settlements])
    accepted = [_accepted(s) for s in settlements if s.acknowledged and s.claimed.source_id in ours]
    others = [_other(s) for s in settlements if not s.acknowledged and s.claimed.source_id in ours]
    late = [
        _late(s)
        for s in settlements
        if s.claimed.source_id not in ours and (s.acknowledged or s.in_doubt is not None)
    ]
    if late:
        tx.execute(_SETTLE_LATE, late)
    if accepted:
        tx.execute(_SETTLE_ACCEPTED, accepted)
    if others:
        tx.execute(_SETTLE_OTHER, others)


def release(tx: Connection, unsent: Sequence[Claimed]) -> None:
    """Gives claims back whose PUT never left: they stand as before the claim."""
    if unsent:
        tx.execute(_RELEASE, [_unsent(claimed) for claimed in unsent])


def _still_ours(tx: Connection, claims: Sequence[Claimed]) -> set[SourceId]:
    """Those whose claim is still their owner's; on SQLite nobody else can have taken it."""
    if not claims or tx.dialect.name == "sqlite":
        return {claimed.source_id for claimed in claims}
    ids = [claimed.source_id for claimed in claims]
    query = (
        select(contract.c.source_id, contract.c.claimed_by)
        .where(among(tx, contract.c.source_id, ids))
        .order_by(in_one_order(tx, contract.c.source_id))
        .with_for_update()
    )
    return {SourceId(row[0]) for row in tx.execute(query) if row[1] == claims[0].owner}


def _late(settlement: Settlement) -> dict[str, object]:
    return {"id": settlement.claimed.source_id, "at": settlement.at}


def _accepted(settlement: Settlement) -> dict[str, object]:
    return {
        "id": settlement.claimed.source_id,
        "claimed": settlement.claimed.claimed_at,
        "sent": settlement.claimed.payload,
        "due": settlement.next_attempt_at,
        "doubt": settlement.in_doubt,
        "http": settlement.http_status,
        "at": settlement.at,
    }


def _unsent(claimed: Claimed) -> dict[str, object]:
    return {
        "id": claimed.source_id,
        "sent": claimed.payload,
        "claimed": claimed.claimed_at,
        "doubt": claimed.in_doubt,
        "owner": claimed.owner,
    }


def _other(settlement: Settlement) -> dict[str, object]:
    return {
        "id": settlement.claimed.source_id,
        "claimed": settlement.claimed.claimed_at,
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


def _if_as_sent(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((_AS_SENT, bindparam(name, type_=column.type)), else_=column)


_ENDED = sa.and_(_AS_SENT, contract.c.gone_at.is_not(None))
# Another's late answer has put it in doubt since it was claimed: it goes once more.
_NEWER_DOUBT = contract.c.in_doubt > bindparam("claimed", type_=contract.c.in_doubt.type)
_DOUBT = bindparam("doubt", type_=contract.c.in_doubt.type)
_DOUBT_AFTER = case((_NEWER_DOUBT, contract.c.in_doubt), else_=_DOUBT)
_ONCE_MORE = sa.and_(_AS_SENT, _NEWER_DOUBT)
# The source went back to what CustomerGauge holds, and what was on its way was not applied: the
# claim's doubt alone made it pending.
_BACK = sa.and_(
    contract.c.payload != bindparam("sent"),
    contract.c.payload == contract.c.acknowledged,
    contract.c.status == _literally(Status.PENDING),
    contract.c.held_run.is_(None),
    contract.c.gone_at.is_(None),
    _DOUBT_AFTER.is_(None),
)
_SETTLE_ACCEPTED = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"))
    .values(
        FREE
        | {
            "acknowledged": bindparam("sent"),
            "acknowledged_at": bindparam("at", type_=contract.c.acknowledged_at.type),
            "in_doubt": _DOUBT_AFTER,
            "status": case(
                (_ONCE_MORE, _literally(Status.PENDING)),
                (_ENDED, _literally(Status.GONE)),
                (_AS_SENT, _literally(Status.SYNCED)),
                else_=contract.c.status,
            ),
            "attempts": case((_AS_SENT, sa.literal_column("0")), else_=contract.c.attempts),
            "next_attempt_at": case(
                (_ONCE_MORE, bindparam("at", type_=contract.c.acknowledged_at.type)),
                (_AS_SENT, bindparam("due", type_=contract.c.next_attempt_at.type)),
                else_=contract.c.next_attempt_at,
            ),
            "http_status": _if_as_sent("http", contract.c.http_status),
            "last_error": case((_AS_SENT, sa.null()), else_=contract.c.last_error),
        }
    )
)
_SETTLE_OTHER = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"))
    .values(
        FREE
        | {
            "in_doubt": _DOUBT_AFTER,
            "status": case(
                (_AS_SENT, bindparam("settled", type_=contract.c.status.type)),
                (_BACK, _literally(Status.SYNCED)),
                else_=contract.c.status,
            ),
            "attempts": _if_as_sent("tries", contract.c.attempts),
            "next_attempt_at": case(
                (_AS_SENT, bindparam("due", type_=contract.c.next_attempt_at.type)),
                (_BACK, sa.null()),
                else_=contract.c.next_attempt_at,
            ),
            "http_status": _if_as_sent("http", contract.c.http_status),
            "last_error": _if_as_sent("error", contract.c.last_error),
        }
    )
)
_IS_SENDABLE = contract.c.status.in_([_literally(status) for status in _SENDABLE])
_SETTLE_LATE = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"))
    .values(
        in_doubt=bindparam("at", type_=contract.c.in_doubt.type),
        status=case((_IS_SENDABLE, _literally(Status.PENDING)), else_=contract.c.status),
        next_attempt_at=case(
            (_IS_SENDABLE, bindparam("at", type_=contract.c.in_doubt.type)),
            else_=contract.c.next_attempt_at,
        ),
    )
)
_RELEASE = (
    sa.update(contract)
    .where(contract.c.source_id == bindparam("id"), contract.c.claimed_by == bindparam("owner"))
    .values(
        FREE
        | {
            "in_doubt": _DOUBT_AFTER,
            "status": case((_BACK, _literally(Status.SYNCED)), else_=contract.c.status),
            "next_attempt_at": case((_BACK, sa.null()), else_=contract.c.next_attempt_at),
        }
    )
)
