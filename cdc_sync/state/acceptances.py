"""Rejections that people have accepted: their status, and the history of who did so and why.

References that people have moved to another contract are in that history, too.

The status says that a rejection is accepted. Whatever capture or delivery records of the contract
replaces it, and so ends the acceptance; what is seen again as it was is not recorded.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from cdc_sync.contract import SourceId, Status
from cdc_sync.state.tables import acceptance, among, contract, fetch_dicts, has_status

ACCEPT, WITHDRAW, MOVE = "accept", "withdraw", "move"
_ABOUT = (acceptance.c.at, acceptance.c.who, acceptance.c.reason)


def accept(tx: Connection, ids: Iterable[SourceId], *, who: str, reason: str, now: datetime) -> int:
    """Accepts those of these contracts that are rejected; returns how many."""
    made = {"at": now, "who": who, "kind": ACCEPT, "reason": reason}
    return _replace_status(tx, ids, Status.REJECTED, Status.ACCEPTED, made)


def withdraw(
    tx: Connection, ids: Iterable[SourceId], *, who: str, reason: str | None, now: datetime
) -> int:
    """Makes those of these contracts that are accepted rejected again; returns how many."""
    made = {"at": now, "who": who, "kind": WITHDRAW, "reason": reason}
    return _replace_status(tx, ids, Status.ACCEPTED, Status.REJECTED, made)


def _replace_status(
    tx: Connection, ids: Iterable[SourceId], old: Status, new: Status, made: dict[str, Any]
) -> int:
    which = (among(tx, contract.c.source_id, ids), has_status(old))
    change = sa.update(contract).where(*which).values(status=new.value)
    changed = [{"source_id": row[0]} for row in tx.execute(change.returning(contract.c.source_id))]
    if changed:
        tx.execute(acceptance.insert(), [{**one, **made} for one in changed])
    return len(changed)


def log_move(
    tx: Connection, old: SourceId, new: SourceId, *, who: str, reason: str, now: datetime
) -> None:
    """Notes with both contracts that the reference of one was given to the other."""
    made = {"at": now, "who": who, "kind": MOVE}
    notes = {old: f"given to {new}: {reason}", new: f"taken over from {old}: {reason}"}
    tx.execute(
        acceptance.insert(), [{"source_id": i, "reason": t, **made} for i, t in notes.items()]
    )


def find_latest(tx: Connection, ids: Iterable[SourceId]) -> dict[SourceId, dict[str, Any]]:
    """Returns when, by whom and why each of these contracts was accepted last."""
    query = select(acceptance.c.source_id, *_ABOUT).where(
        among(tx, acceptance.c.source_id, ids), acceptance.c.kind == ACCEPT
    )
    found = fetch_dicts(tx, query.order_by(acceptance.c.id))
    return {one.pop("source_id"): one for one in found}


def list_acceptances(tx: Connection, source_id: SourceId) -> list[dict[str, Any]]:
    """Returns what people decided about one contract's rejections, oldest first."""
    query = select(acceptance.c.kind, *_ABOUT).where(acceptance.c.source_id == source_id)
    return fetch_dicts(tx, query.order_by(acceptance.c.id))


def is_over() -> sa.ColumnElement[bool]:
    """Returns the condition that the contract of an acceptance is accepted no more."""
    accepted = select(contract.c.source_id).where(has_status(Status.ACCEPTED))
    return acceptance.c.source_id.not_in(accepted)
