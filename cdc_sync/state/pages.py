"""What a page changed, written down: one statement for what is new, one for what is known."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, FromClause, Insert, Update, bindparam, select

from cdc_sync.contract import Status, problems_to_json
from cdc_sync.rules.compare import Change
from cdc_sync.state.given import Columns, ForRows
from cdc_sync.state.tables import contract


def record(tx: Connection, changes: Sequence[Change], now: datetime) -> None:
    """Writes what a page changed; what is pending is due at once, with no attempts.

    What a run keeps until it is judged is due to nobody; what was held and stays held keeps the
    run that holds it.
    """
    new = [_row(change) for change in changes if change.known is None]
    old = [_row(change) for change in changes if change.known is not None]
    _INSERT.execute(tx, new, now=now)
    _UPDATE.execute(tx, old, now=now)


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


_INSERT = ForRows(_COLUMNS, _inserted)
_UPDATE = ForRows(_COLUMNS, _updated)
