"""The contract table as delivery sees it: the outbox, where the latest payload wins.

A contract with `next_attempt_at` and without `claimed_by` waits to be sent. `claim` takes those
that are due and puts them in doubt; `settle` records their results, and `release` gives back
what was never sent. A process that dies leaves its claims, which the last part of this module ends.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, bindparam, case, select

from cdc_sync.contract import REFUSED, Payload, Problem, SourceId, Status, problems_to_json
from cdc_sync.rules.outcome import ACCOUNT_LONGEST, CONFIRM_AFTER, Claimed, Settlement
from cdc_sync.rules.verdict import LONGEST
from cdc_sync.state.database import Database, is_shared, state_now
from cdc_sync.state.lease import is_dead_owner
from cdc_sync.state.tables import (
    Columns,
    among,
    bulk_statement,
    contract,
    has_contract,
    has_status,
    in_one_order,
)

_LONGEST_WAIT = max(LONGEST, ACCOUNT_LONGEST) + timedelta(minutes=1)
_WAITS = (contract.c.next_attempt_at.is_not(None), contract.c.claimed_by.is_(None))
_COLUMNS = (
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
_DUE = select(*_COLUMNS).where(*_WAITS, _IS_DUE).limit(bindparam("most"))
_BY_NEED = _DUE.order_by(contract.c.next_attempt_at, contract.c.source_id)
_COUNT = select(sa.func.count()).select_from(contract)
_COUNT_LEFT = select(  # two, for there is an index of either
    _COUNT.where(*_WAITS, contract.c.next_attempt_at <= bindparam("now")).scalar_subquery()
    + _COUNT.where(
        contract.c.claimed_by.is_not(None), contract.c.next_attempt_at <= bindparam("now")
    ).scalar_subquery()
)
_NEXT_DUE = (
    select(contract.c.next_attempt_at).where(*_WAITS).order_by(contract.c.next_attempt_at).limit(1)
)


def list_due(tx: Connection, now: datetime, limit: int) -> Iterable[sa.Row[Any]]:
    """Returns the contracts to be sent now, the one that is due longest first."""
    return tx.execute(_BY_NEED, _as_of(now) | {"most": limit})


def count_due(tx: Connection, now: datetime) -> int:
    """Returns how many contracts are to be sent now."""
    return int(tx.execute(_COUNT.where(*_WAITS, _IS_DUE), _as_of(now)).scalar_one())


def count_left(tx: Connection, now: datetime) -> int:
    """Returns how many contracts are to be sent now or are on their way."""
    return int(tx.execute(_COUNT_LEFT, {"now": now}).scalar_one())


def list_postponed(tx: Connection, now: datetime) -> list[SourceId]:
    """Returns the pending contracts that wait for their next attempt."""
    is_pending = has_status(Status.PENDING)
    query = select(contract.c.source_id).where(*_WAITS, is_pending, sa.not_(_IS_DUE))
    return [SourceId(row[0]) for row in tx.execute(query, _as_of(now))]


def next_due_at(tx: Connection) -> datetime | None:
    """Returns when the next contract is due; None where none waits."""
    found: datetime | None = tx.execute(_NEXT_DUE).scalar()
    return found


def _as_of(now: datetime) -> dict[str, Any]:
    return {"now": now, "far": now + _LONGEST_WAIT}


def _for_claim(due: sa.Select[Any]) -> dict[str, sa.Select[Any]]:
    """Returns the locking query by dialect. Building it costs as much as running it."""
    listed = sa.func.json_each(bindparam("exclude", type_=sa.Text())).table_valued("value")
    array = sa.func.unnest(bindparam("exclude", type_=sa.ARRAY(sa.Text()))).column_valued("id")
    of_array = due.where(contract.c.source_id.not_in(select(array)))
    return {
        "sqlite": due.where(contract.c.source_id.not_in(select(listed.c.value))),
        "postgresql": of_array.with_for_update(skip_locked=True),
    }


_CLAIM_BY_NEED = _for_claim(_BY_NEED)
_CLAIM_AT_RANDOM = _for_claim(_DUE.order_by(sa.func.random()))


def claim(  # noqa: PLR0913  # one argument a column
    tx: Connection,
    now: datetime,
    limit: int,
    owner: str,
    until: datetime,
    *,
    claimed_at: datetime,
    exclude: Iterable[SourceId] = (),
    at_random: bool = False,
) -> list[Claimed]:
    """Takes contracts for delivery: in doubt from the commit of `tx` on, until acknowledged.

    `claimed_at` is now by the clock of doubts. `exclude` are those that do not go now, though
    they are due: on their way, as another daemon may have ended their claim, or answered just now.
    """
    if limit <= 0:
        return []
    query = (_CLAIM_AT_RANDOM if at_random else _CLAIM_BY_NEED)[tx.dialect.name]
    excluded = list(exclude) if is_shared(tx) else json.dumps(list(exclude))
    asked = _as_of(now) | {"most": limit, "exclude": excluded}
    taken = [_claimed(row, owner, claimed_at) for row in tx.execute(query, asked).all()]
    ids = [{"id": claimed.source_id} for claimed in taken]
    _mark_claimed.execute(tx, ids, owner=owner, until=until, now=claimed_at)
    return taken


def _claimed(row: Any, owner: str, now: datetime) -> Claimed:
    id_, reference, payload, acknowledged, status, attempts, due_at, in_doubt, changed_at = row
    before = (Status(status), attempts, due_at, in_doubt, changed_at)
    return Claimed(id_, reference, payload, acknowledged, *before, owner, now)


@bulk_statement({"id": sa.Text()})
def _mark_claimed(given: FromClause) -> sa.Update:
    return _of(given).values(
        claimed_by=bindparam("owner"),
        claimed_until=bindparam("until"),
        in_doubt=bindparam("now"),
    )


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Records the results of claims, and ends them.

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
    _settle_late.execute(tx, late)
    _settle_accepted.execute(tx, accepted)
    _settle_other.execute(tx, others)


def release(tx: Connection, unsent: Sequence[Claimed]) -> None:
    """Gives claims back whose PUT never left: they stand as before the claim."""
    ours = _still_ours(tx, unsent)
    _release.execute(tx, [_unsent(claimed) for claimed in unsent if claimed.source_id in ours])


def _still_ours(tx: Connection, claims: Sequence[Claimed]) -> set[SourceId]:
    """Returns the contracts whose claim is still ours; on SQLite nobody else can have taken it."""
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
        "doubted": settlement.doubted_at,
    }


def _unsent(claimed: Claimed) -> dict[str, object]:
    return {
        "id": claimed.source_id,
        "claimed": claimed.claimed_at,
        "sent": claimed.payload,
        "doubt": claimed.in_doubt,
    }


_FREE: dict[str, object] = {"claimed_by": sa.null(), "claimed_until": sa.null()}
_SENDABLE = (Status.PENDING, Status.WAITING, Status.SYNCED)
_IS_SENDABLE = contract.c.status.in_([status.value for status in _SENDABLE])
_IS_JUDGED = contract.c.held_run.is_(None)  # the guard's run goes on, or a person is to decide
_INSTANT = contract.c.in_doubt.type
_SETTLEMENT: Columns = {
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
    "doubted": _INSTANT,
}


@bulk_statement(_SETTLEMENT)
def _settle_accepted(given: FromClause) -> sa.Update:
    as_sent, once_more = _as_sent(given), sa.and_(_as_sent(given), _newer_doubt(given))
    ended = sa.and_(as_sent, contract.c.gone_at.is_not(None))
    return _of(given).values(
        _FREE
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


@bulk_statement(_SETTLEMENT)
def _settle_other(given: FromClause) -> sa.Update:
    as_sent, back = _as_sent(given), _is_back(given)
    return _of(given).values(
        _FREE
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


@bulk_statement(_SETTLEMENT)
def _settle_late(given: FromClause) -> sa.Update:
    goes = sa.and_(_IS_SENDABLE, _IS_JUDGED)
    return _of(given).values(
        in_doubt=given.c.doubted,
        status=case((goes, Status.PENDING.value), else_=contract.c.status),
        next_attempt_at=case((goes, given.c.at), else_=contract.c.next_attempt_at),
    )


@bulk_statement(_SETTLEMENT)
def _release(given: FromClause) -> sa.Update:
    back = _is_back(given)
    return _of(given).values(
        _FREE
        | {
            "in_doubt": _doubt_after(given),
            "status": case((back, Status.SYNCED.value), else_=contract.c.status),
            "next_attempt_at": case((back, sa.null()), else_=contract.c.next_attempt_at),
        }
    )


def _as_sent(given: FromClause) -> ColumnElement[bool]:
    """Whether nothing newer was seen in the source while this payload was on its way."""
    return sa.and_(contract.c.payload == given.c.sent, _IS_JUDGED, _IS_SENDABLE)


def _newer_doubt(given: FromClause) -> ColumnElement[bool]:
    """Whether another's late answer has put it in doubt since it was claimed: it is sent again."""
    return contract.c.in_doubt != given.c.claimed  # no two clocks are compared


def _doubt_after(given: FromClause) -> ColumnElement[Any]:
    return case((_newer_doubt(given), contract.c.in_doubt), else_=given.c.doubt)


def _is_back(given: FromClause) -> ColumnElement[bool]:
    """Whether the source went back to what CustomerGauge holds, and the PUT was not applied.

    The claim's doubt alone made it pending.
    """
    return sa.and_(
        contract.c.payload != given.c.sent,
        contract.c.payload == contract.c.acknowledged,
        contract.c.status == Status.PENDING.value,
        _IS_JUDGED,
        contract.c.gone_at.is_(None),
        _doubt_after(given).is_(None),
    )


def _of(given: FromClause) -> sa.Update:
    return sa.update(contract).where(contract.c.source_id == given.c.id)


def retry(tx: Connection, ids: Sequence[SourceId] | None, now: datetime) -> int:
    """Makes rejected, waiting and backing-off contracts due now; None: all of them.

    One that our own rules refuse has nothing that could be sent, and stays as it is. One whose
    rejection a person has accepted is tried again where it is named.
    """
    refused = [Status.REJECTED] if ids is None else REFUSED
    is_stuck = case(
        (has_status(*refused), contract.c.http_status.is_not(None)),
        (contract.c.status == Status.PENDING.value, contract.c.attempts > 0),
        else_=sa.true(),
    )
    stuck = has_status(Status.WAITING, Status.PENDING, *refused)
    return _make_due(tx, ids, now, sa.and_(stuck, is_stuck))


def resend(tx: Connection, ids: Sequence[SourceId] | None, now: datetime) -> int:
    """Makes synced contracts due once more, although CustomerGauge acknowledged them.

    What it holds of these, and of others that are not sent now, is in doubt until it takes them: a
    source that goes back to what was acknowledged before does not end that.
    """
    too_old = min(now, state_now(tx, now)) - CONFIRM_AFTER  # to be confirmed
    doubt = sa.func.coalesce(contract.c.in_doubt, too_old)
    was_sent = (contract.c.reference.is_not(None), contract.c.acknowledged.is_not(None))
    change = sa.update(contract).where(*was_sent, contract.c.status != Status.GONE.value)
    if ids is not None:
        change = change.where(among(tx, contract.c.source_id, ids))
    tx.execute(change.values(in_doubt=doubt))
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


def list_waiting_payloads(tx: Connection) -> Iterable[Payload]:
    """Returns the payloads of the contracts that wait for their account."""
    query = select(contract.c.payload).where(has_status(Status.WAITING))
    return (Payload(row[0]) for row in tx.execute(query))


def resume_waiting(tx: Connection, start: str, now: datetime) -> None:
    """Makes the contracts that wait for an account due now; their payloads begin with `start`."""
    change = sa.update(contract).where(_waits_with(start))
    tx.execute(change.values(status=Status.PENDING.value, attempts=0, next_attempt_at=now))


def record_account_refusal(tx: Connection, start: str, problems: Sequence[Problem]) -> None:
    """Records why an account cannot be made at the contracts that wait for it."""
    change = sa.update(contract).where(_waits_with(start))
    tx.execute(change.values(last_error=problems_to_json(problems)))


def _waits_with(start: str) -> ColumnElement[bool]:
    # Not LIKE, to which ACME and acme are one on SQLite.
    begins = sa.func.substr(contract.c.payload, 1, len(start)) == start
    return sa.and_(has_status(Status.WAITING), begins)


def free_claims_at_start(state: Database, now: datetime) -> None:
    """At a start: ends the claims of processes that died here. Raises StateUnavailable.

    What was to be sent is due, and still in doubt. On SQLite there is no other process.
    """
    if state.file is None:
        free_claims_of_dead(state, now)
        return
    with state.begin() as tx:
        free_all_claims(tx, now)


def free_claims_of_dead(state: Database, now: datetime) -> None:
    """Ends the claims of others that died on this machine. Raises StateUnavailable."""
    if state.file is None:
        query = select(contract.c.claimed_by).where(_IS_CLAIMED).distinct()
        with state.read() as tx:
            owners = [row[0] for row in tx.execute(query)]
        if dead := [owner for owner in owners if is_dead_owner(owner)]:
            with state.begin() as tx:
                for owner in dead:
                    free_claims_of(tx, owner, [], now)


def free_expired_leases(state: Database) -> None:
    """Ends the claims whose lease is over, by the state's clock. Raises StateUnavailable."""
    if state.file is not None:
        return
    with state.read() as tx:
        if not has_contract(tx, _IS_EXPIRED):
            return
    with state.begin() as tx:
        free_expired_claims(tx)


_IS_CLAIMED = contract.c.claimed_by.is_not(None)
_IS_EXPIRED = sa.and_(_IS_CLAIMED, contract.c.claimed_until < sa.func.clock_timestamp())


def free_expired_claims(tx: Connection) -> int:
    """Ends the claims whose lease is over by the clock of the state's server."""
    # What is being settled or freed right now is left to the one who does it.
    expired = select(contract.c.source_id).where(_IS_EXPIRED).with_for_update(skip_locked=True)
    is_expired = (contract.c.source_id.in_(expired), _IS_EXPIRED)
    return _free_claims(tx, sa.func.clock_timestamp(), *is_expired)


def free_all_claims(tx: Connection, now: datetime) -> int:
    """Ends the claims of processes that died; what was to be sent is due, and still in doubt."""
    return _free_claims(tx, state_now(tx, now), _IS_CLAIMED)


def free_claims_of(tx: Connection, owner: str, in_flight: Iterable[SourceId], now: datetime) -> int:
    """Ends the claims of an owner, except those that are on their way."""
    is_in_flight = among(tx, contract.c.source_id, in_flight)
    which = (contract.c.claimed_by == owner, sa.not_(is_in_flight))
    return _free_claims(tx, state_now(tx, now), *which)


def _free_claims(
    tx: Connection, now: datetime | ColumnElement[datetime], *which: ColumnElement[bool]
) -> int:
    # Nobody knows when their requests were given up, but by now they are.
    # next_attempt_at stays as it is: what was refused, held or gone meanwhile has none.
    free = sa.update(contract).where(*which).values(_FREE | {"in_doubt": now})
    return tx.execute(free).rowcount
