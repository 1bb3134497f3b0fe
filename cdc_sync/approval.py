"""What the guard holds, and a person's word that it may go."""

from datetime import datetime
from typing import Any

from cdc_sync.contract import Status
from cdc_sync.state import contracts, control, holds
from cdc_sync.state.database import Database


def held_document(state: Database) -> dict[str, Any] | None:
    """What is held: how much in all, and the latest run with its examples; None for nothing."""
    with state.read() as tx:
        count = contracts.count_of(tx, Status.HELD)
        latest = control.get(tx, control.HOLD)
        examples = holds.examples(tx) if count else []
    return latest and {"held": count, **latest, "examples": examples} if count else None


def approve(state: Database, until_run: int, *, ends: bool, now: datetime) -> dict[str, int]:
    """Releases what was held up to this run; what came later stays held.

    With `ends` contracts that are gone are ended in CustomerGauge first (`deletes.policy: end`).
    """
    with state.begin() as tx:
        before = contracts.count_of(tx, Status.HELD)
        holds.release(tx, holds.held(until_run), ends=ends, now=now)
        holds.forget_if_none(tx)
        left = contracts.count_of(tx, Status.HELD)
    return {"released": before - left, "held": left}
