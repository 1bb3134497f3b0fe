"""Contracts that the guard keeps from being sent: until it has judged their run, or for a person.

A change that waits for the end of its run is `pending` with `held_run`, and not due; what the
guard judged too much is `held` until a person approves or discards it. A contract that would be
gone has `gone_at` in both.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, FromClause, select
from sqlalchemy.sql.elements import ColumnElement

from cdc_sync.contract import SourceId, Status, changed_fields
from cdc_sync.rules.compare import compare_gone
from cdc_sync.rules.guard import Held, Tally
from cdc_sync.state import contracts, control
from cdc_sync.state.tables import bulk_statement, contract, has_contract, has_status, page_by_id
from cdc_sync.state.values import GuardRunNumber, HoldReport, UnjudgedRuns

EXAMPLES = 5
PAGE = 1000

_IS_HELD = has_status(Status.HELD)
_IS_GONE = contract.c.gone_at.is_not(None)
_IS_NEW = sa.and_(contract.c.gone_at.is_(None), contract.c.acknowledged.is_(None))


def is_unjudged(runs: Iterable[int]) -> ColumnElement[bool]:
    """Returns the condition that a change waits until one of these runs is judged."""
    return sa.and_(has_status(Status.PENDING), contract.c.held_run.in_(list(runs)))


def is_held_until(until_run: int) -> ColumnElement[bool]:
    """Returns the condition that a contract is held by this run or an earlier one."""
    return sa.and_(_IS_HELD, contract.c.held_run <= until_run)


def take_run_number(tx: Connection) -> int:
    """Takes the next number, for a run that holds something or has changes wait."""
    number = last_run_number(tx) + 1
    control.save(tx, GuardRunNumber(number))
    return number


def last_run_number(tx: Connection) -> int:
    """Returns the latest number that was taken; 0 for none."""
    latest = control.load(tx, GuardRunNumber)
    return latest.number if latest else 0


def unjudged_runs(tx: Connection) -> set[int]:
    """Returns the runs that are not judged yet."""
    unjudged = control.load(tx, UnjudgedRuns)
    return set(unjudged.numbers) if unjudged else set()


def save_unjudged_runs(tx: Connection, runs: Iterable[int]) -> None:
    """Stores which runs are not judged yet."""
    if numbers := tuple(sorted(runs)):
        control.save(tx, UnjudgedRuns(numbers))
    else:
        control.remove(tx, UnjudgedRuns)


def count_changes(tx: Connection, which: ColumnElement[bool]) -> Tally:
    """Returns how many of these contracts count as updated, gone and new."""
    kind = sa.case((_IS_GONE, "gone"), (_IS_NEW, "new"), else_="updated")
    query = select(kind, sa.func.count()).where(which).group_by(sa.literal_column("1"))
    counts = {str(row[0]): int(row[1]) for row in tx.execute(query)}
    return Tally(counts.get("updated", 0), counts.get("gone", 0), counts.get("new", 0))


def hold(tx: Connection, which: ColumnElement[bool], what: Held, run: int) -> None:
    """Holds those of these contracts that the guard judged too much."""
    change = sa.update(contract).where(which).values(status=Status.HELD.value, held_run=run)
    if not what.changes:
        change = change.where(_IS_NEW)
    if not what.new:
        change = change.where(sa.not_(_IS_NEW))
    tx.execute(change)


def release(
    tx: Connection,
    which: ColumnElement[bool],
    *,
    ends: bool,
    now: datetime,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Gives these contracts the status that they would have without the guard: due now, or gone.

    With `ends` contracts that are gone are first ended in CustomerGauge (`deletes.policy: end`).
    A contract whose payload is the acknowledged one again is synced. `progress` is called now and
    then, for there may be very many.
    """
    if ends:
        _end(tx, which, now, progress)
    else:
        tx.execute(sa.update(contract).where(which, _IS_GONE).values(_as(Status.GONE)))
    is_synced = sa.and_(
        contract.c.payload == contract.c.acknowledged, contract.c.in_doubt.is_(None)
    )
    synced = sa.update(contract).where(which, contract.c.gone_at.is_(None), is_synced)
    tx.execute(synced.values(_as(Status.SYNCED)))
    progress()
    due = sa.update(contract).where(which, contract.c.gone_at.is_(None))
    tx.execute(due.values({**_as(Status.PENDING), "next_attempt_at": now}))


def _as(status: Status) -> dict[str, Any]:
    return {"status": status.value, "held_run": None, "attempts": 0, "next_attempt_at": None}


def _end(
    tx: Connection, which: ColumnElement[bool], now: datetime, progress: Callable[[], None]
) -> None:
    """Ends contracts that are gone, each on the day on which it was found so."""
    found = page_by_id(select(*contracts.KNOWN).where(which, _IS_GONE), None, PAGE)
    while rows := tx.execute(found).all():  # every one of them leaves `which`
        _end_page.execute(tx, [_ended(row, now) for row in rows])
        progress()


def _ended(row: contracts.KnownRow, now: datetime) -> dict[str, object]:
    known = contracts.to_known(row)
    change = compare_gone(known, ends_on=row.gone_at.date(), ignore_previous=True)
    if change is None:
        raise AssertionError("a contract that is not gone yet can go")
    due = now if change.status is Status.PENDING else None
    return {
        "id": row.source_id,
        "payload": change.payload,
        "status": change.status,
        "due": due,
    }


@bulk_statement(
    {
        "id": sa.Text(),
        "payload": sa.Text(),
        "status": sa.Text(),
        "due": contract.c.next_attempt_at.type,
    }
)
def _end_page(given: FromClause) -> sa.Update:
    return (
        sa.update(contract)
        .where(contract.c.source_id == given.c.id)
        .values(
            payload=given.c.payload,
            status=given.c.status,
            next_attempt_at=given.c.due,
            held_run=None,
            attempts=0,
        )
    )


def page_of_held(
    tx: Connection, until_run: int, after: SourceId | None, limit: int
) -> list[SourceId]:
    """Returns a page of the held contracts in order of their id."""
    held = select(contract.c.source_id).where(is_held_until(until_run))
    return [SourceId(row[0]) for row in tx.execute(page_by_id(held, after, limit))]


def remove_report_if_none_held(tx: Connection) -> None:
    """Removes the report of the latest hold where nothing is held any more."""
    if not has_contract(tx, _IS_HELD):
        control.remove(tx, HoldReport)


def save_report(
    tx: Connection, run: int, kind: str, known: int, now: datetime
) -> HoldReport | None:
    """Stores and returns the report of what a run holds; None where all of it was held before."""
    earlier = control.load(tx, HoldReport) if has_contract(tx, is_held_until(run - 1)) else None
    which = sa.and_(_IS_HELD, contract.c.held_run == run)
    counts = count_changes(tx, which)
    if not counts.changes + counts.new:
        return None
    report = HoldReport(
        run=run,
        at=earlier.at if earlier else now,
        kind=kind,
        changes=counts.changes + counts.new,
        known=known,
        updated=counts.updated,
        new=counts.new,
        gone=counts.gone,
    )
    control.save(tx, report)
    return report


def list_examples(tx: Connection) -> list[dict[str, Any]]:
    """Returns the first few held contracts, and how each differs from what CustomerGauge holds."""
    rows = tx.execute(page_by_id(select(contract).where(_IS_HELD), None, EXAMPLES))
    return [
        {
            "source_id": row.source_id,
            "reference": row.reference,
            "gone": row.gone_at is not None,
            "diff": {
                name: list(pair)
                for name, pair in changed_fields(row.acknowledged, row.payload).items()
            },
        }
        for row in rows
    ]
