"""The history of runs and deliveries, and how it is pruned as `state.history` says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, FromClause, Insert, select

from cdc_sync.contract import changed_fields, problems_to_json
from cdc_sync.rules.outcome import Settlement
from cdc_sync.state.acceptances import is_over
from cdc_sync.state.tables import acceptance, bulk_statement, delivery, fetch_dicts, run

STOPPED = "stopped before its end"  #: the error of a run that somebody ended


@dataclass(frozen=True, slots=True)
class Run:
    """The report of a run; `kind` is poll, sweep, initial, reconcile or discard."""

    kind: str
    started: datetime
    finished: datetime | None = None
    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    gone: int = 0
    missed: int = 0  #: changes a reconcile found whose stamp polls had passed
    late: int = 0  #: and those that a sweep found
    late_seconds: float | None = None  #: how far the latest of them was behind its stamp
    error: str | None = None

    @property
    def changed(self) -> int:
        """How many contracts it made pending, rejected or gone."""
        return self.created + self.updated + self.rejected + self.gone

    def ended(self, now: datetime, error: str | None = None) -> "Run":
        """The run with its end."""
        return replace(self, finished=now, error=error)


def log_run(tx: Connection, report: Run) -> None:
    """Adds a run to the history."""
    names = ("kind", "started", "finished", "rows", "created", "updated", "rejected", "error")
    values = {name: getattr(report, name) for name in (*names, "late", "late_seconds")}
    tx.execute(run.insert().values(changed=report.changed, **values))


def count_late(tx: Connection, since: datetime) -> tuple[int, float | None]:
    """Returns how many late changes sweeps found since an instant, and by how many seconds."""
    query = select(sa.func.coalesce(sa.func.sum(run.c.late), 0), sa.func.max(run.c.late_seconds))
    return tuple(tx.execute(query.where(run.c.started >= since)).one())


def log_deliveries(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Adds every attempt with its result to the history."""
    _insert_deliveries.execute(tx, [_row(settlement) for settlement in settlements])


def _row(settlement: Settlement) -> dict[str, Any]:
    claimed = settlement.claimed
    return {
        "at": settlement.at,
        "source_id": claimed.source_id,
        "reference": claimed.reference,
        "http_status": settlement.http_status,
        "changed": orjson.dumps(changed_fields(claimed.acknowledged, claimed.payload)).decode(),
        "error": problems_to_json(settlement.problems) if settlement.problems else None,
    }


_ATTEMPT = {column.name: column.type for column in delivery.c if not column.primary_key}


@bulk_statement(_ATTEMPT)
def _insert_deliveries(given: FromClause) -> Insert:
    return delivery.insert().from_select(list(_ATTEMPT), select(*given.c))


def list_deliveries(tx: Connection, source_id: str, limit: int) -> list[dict[str, Any]]:
    """Returns one contract's latest attempts, oldest first."""
    rows = _list_latest(tx, delivery, limit, delivery.c.source_id == source_id)
    return [
        {
            "at": row["at"],
            "http_status": row["http_status"],
            "changed": json.loads(row["changed"]) if row["changed"] else {},
            "error": json.loads(row["error"]) if row["error"] else None,
        }
        for row in reversed(rows)
    ]


def list_latest_deliveries(tx: Connection, limit: int) -> list[dict[str, Any]]:
    """Returns the latest attempts of all contracts, newest first."""
    return _list_latest(tx, delivery, limit)


def taken_since(tx: Connection, at: datetime) -> list[str]:
    """Returns the first and the last reference that was acknowledged since an instant.

    The order is that of people: erp-9 is before erp-10.
    """
    taken = (
        select(delivery.c.reference)
        .where(delivery.c.at >= at, delivery.c.http_status.between(200, 299))
        .limit(1)
    )
    length, name = sa.func.length(delivery.c.reference), delivery.c.reference
    ends = (taken.order_by(length, name), taken.order_by(length.desc(), name.desc()))
    found = [tx.execute(query).scalar() for query in ends]
    return list(dict.fromkeys(reference for reference in found if reference is not None))


def list_runs(tx: Connection, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Returns the latest runs, or those before one of them, newest first."""
    return _list_latest(tx, run, limit, *([] if before is None else [run.c.id < before]))


def _list_latest(
    tx: Connection, table: sa.Table, limit: int, *where: sa.ColumnElement[bool]
) -> list[dict[str, Any]]:
    return fetch_dicts(tx, select(table).where(*where).order_by(table.c.id.desc()).limit(limit))


def prune(tx: Connection, before: datetime, limit: int) -> int:
    """Removes at most `limit` older runs, deliveries and former acceptances each.

    Returns how many it removed.
    """
    gone = 0
    for table, is_old in (
        (delivery, delivery.c.at < before),
        (run, run.c.started < before),
        (acceptance, sa.and_(acceptance.c.at < before, is_over())),
    ):
        old = select(table.c.id).where(is_old).limit(limit)
        gone += tx.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount
    return gone
