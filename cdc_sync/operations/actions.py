"""What a person does by hand: retry, resend, accept, pause, resume and approve."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection

from cdc_sync.contract import SourceId, Status
from cdc_sync.errors import UserMistake
from cdc_sync.operations.status import hold_document
from cdc_sync.rules.gate import ApiStatus
from cdc_sync.rules.verdict import ApiState
from cdc_sync.state import acceptances, contracts, control, holds, outbox
from cdc_sync.state.database import Database
from cdc_sync.state.values import PAUSED, HoldReport, Paused, ProbeRequest

_MakeDue: TypeAlias = Callable[[Connection, Sequence[SourceId] | None, datetime], int]


def retry(state: Database, names: Sequence[str] | None, now: datetime) -> int:
    """Makes rejected, waiting and backing-off contracts due now, with `names` None all of them.

    `names` are source ids or references. The next probe is due, too. Returns how many are due.
    Raises UserMistake, and changes nothing, where a name is unknown.
    """
    return _make_due(state, names, now, outbox.retry)


def resend(state: Database, names: Sequence[str] | None, now: datetime) -> int:
    """Makes synced contracts due once more; otherwise does as `retry`."""
    return _make_due(state, names, now, outbox.resend)


def retry_ids(state: Database, ids: Sequence[SourceId], now: datetime) -> int:
    """Does as `retry` for contracts whose source ids are known."""
    with state.begin() as tx:
        control.save(tx, ProbeRequest(now))
        return outbox.retry(tx, ids, now)


def accept(state: Database, names: Sequence[str], *, who: str, reason: str, now: datetime) -> int:
    """Accepts the rejections of these contracts: they are no trouble until they change.

    Returns how many were rejected. Raises UserMistake, and changes nothing, where a name is
    unknown or no reason is given.
    """
    with state.begin() as tx:
        return accept_ids(tx, _find_ids(tx, names), who=who, reason=reason, now=now)


def accept_ids(
    tx: Connection, ids: Sequence[SourceId], *, who: str, reason: str, now: datetime
) -> int:
    """Does as `accept` for contracts whose source ids are known."""
    if not reason.strip():
        raise UserMistake(
            "To accept a rejection takes a reason, for the history.", hint="Add --reason TEXT."
        )
    return acceptances.accept(tx, ids, who=who, reason=reason.strip(), now=now)


def withdraw(
    state: Database, names: Sequence[str], *, who: str, reason: str | None, now: datetime
) -> int:
    """Ends the acceptance of these contracts' rejections; returns how many were accepted."""
    with state.begin() as tx:
        ids = _find_ids(tx, names)
        return acceptances.withdraw(tx, ids, who=who, reason=reason, now=now)


def _make_due(
    state: Database, names: Sequence[str] | None, now: datetime, make_due: _MakeDue
) -> int:
    with state.begin() as tx:
        control.save(tx, ProbeRequest(now))
        return make_due(tx, None if names is None else _find_ids(tx, names), now)


def _find_ids(tx: Connection, names: Sequence[str]) -> list[SourceId]:
    ids, unknown = contracts.resolve_names(tx, names)
    if unknown:
        raise UserMistake(
            f"The state knows no contract by the id or reference {', '.join(unknown)};"
            " nothing was changed.",
            hint="See: cdc-sync contracts list",
        )
    return ids


def throttled_until(state: Database, now: datetime) -> datetime | None:
    """Returns until when a 429 stops all delivery, which nobody can shorten; else None."""
    with state.read() as tx:
        api = control.load(tx, ApiStatus) or ApiStatus()
    until = api.paused_until if api.state is ApiState.THROTTLED else None
    return until if until is not None and until > now else None


def pause(state: Database) -> bool:
    """Stops delivery until `resume`; returns whether it was running."""
    with state.begin() as tx:
        was_running = not control.is_paused(tx)
        control.save(tx, PAUSED)
    return was_running


def resume(state: Database, now: datetime) -> bool:
    """Starts delivery again, with a probe at once; returns whether it was paused."""
    with state.begin() as tx:
        was_paused = control.is_paused(tx)
        control.remove(tx, Paused)
        control.save(tx, ProbeRequest(now))
    return was_paused


def held_document(state: Database) -> dict[str, Any] | None:
    """Returns how many contracts are held, and the latest run with examples; None for none."""
    with state.read() as tx:
        count = contracts.count_with_status(tx, Status.HELD)
        latest = control.load(tx, HoldReport)
        examples = holds.list_examples(tx) if count else []
    return hold_document(latest, count, examples)


def approve(state: Database, until_run: int, *, ends: bool, now: datetime) -> dict[str, int]:
    """Releases what was held up to this run; what a later run held stays held.

    With `ends` contracts that are gone are ended in CustomerGauge first (`deletes.policy: end`).
    """
    with state.begin() as tx:
        before = contracts.count_with_status(tx, Status.HELD)
        holds.release(tx, holds.is_held_until(until_run), ends=ends, now=now)
        holds.remove_report_if_none_held(tx)
        left = contracts.count_with_status(tx, Status.HELD)
    return {"released": before - left, "held": left}
