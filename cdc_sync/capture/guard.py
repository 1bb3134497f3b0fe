"""Applies the guard to a run: each change is recorded, deferred to the run's end, or held.

A run of one page is judged in memory and at once. In a longer one what CustomerGauge would see
waits in the state (`pending` with `held_run`), and is judged in one transaction at its end,
together with what a run cut short left waiting.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import structlog
from sqlalchemy import Connection

from cdc_sync.capture.page import Capture
from cdc_sync.contract import Status
from cdc_sync.rules.compare import Change
from cdc_sync.rules.guard import (
    Held,
    Tally,
    count_limit,
    effect_of,
    judge,
    least_known,
    tally_changes,
)
from cdc_sync.state import contracts, control, holds
from cdc_sync.state.values import Fingerprint, HoldReport

log = structlog.get_logger()
_LOGGED = ("changes", "known", "updated", "new", "gone")


@contextmanager
def guard_run(capture: Capture, kind: str) -> Iterator["RunGuard"]:
    """Opens the guard of a run, and logs at its end what was held. Raises StateUnavailable."""
    run = RunGuard(capture, kind)
    try:
        yield run
    finally:
        if run.number is not None:
            capture.guarded_runs.discard(run.number)
        if run.hold is not None:
            counts = {name: getattr(run.hold, name) for name in _LOGGED}
            log.warning(
                "guard.held", kind=kind, **counts, mend="cdc-sync approve, or cdc-sync discard"
            )


class RunGuard:
    """Records the changes of one run."""

    def __init__(self, capture: Capture, kind: str) -> None:
        self._capture = capture
        self._kind = kind
        self._guard = capture.config.guard
        self.number: int | None = None  #: of this run, once something of it waits or is held
        self.hold: HoldReport | None = None  #: what it held
        self._is_on: bool | None = None

    def is_on(self, tx: Connection) -> bool:
        """Whether anything may be held: not in the first full scan, nor with few contracts."""
        if self._is_on is None:
            self._is_on = self._begins(tx)
        return self._is_on

    def record(
        self, tx: Connection, changes: list[Change], now: datetime, *, last: bool
    ) -> list[Change]:
        """Records a page's changes as the guard allows; returns them as they were recorded."""
        at_once = last and self.number is None and not self._unjudged(tx)
        if changes and self.is_on(tx):
            changes = self._hold_excess(tx, changes) if at_once else self._defer(tx, changes)
        contracts.record_changes(tx, changes, now)
        if at_once:
            self.save_hold(tx, now)
        elif last:
            self.end(tx, now)
        return changes

    def end(
        self, tx: Connection, now: datetime, progress: Callable[[], None] = lambda: None
    ) -> None:
        """Judges the deferred changes: each becomes what it would have been, or is held."""
        runs = self._unjudged(tx)
        if not runs:
            return
        which = holds.is_unjudged(runs)
        held = judge_run(tx, self._capture, holds.count_changes(tx, which))
        progress()
        if held:
            self.number = self.number or max(runs)
            holds.hold(tx, which, held, self.number)
            self.save_hold(tx, now)
        ends = self._capture.ends_on() is not None
        holds.release(tx, which, ends=ends, now=now, progress=progress)
        holds.save_unjudged_runs(tx, holds.unjudged_runs(tx) - runs)

    def hold_gone(self, tx: Connection, changes: list[Change], now: datetime) -> None:
        """Holds contracts that are gone, whatever their share; `save_hold` is to follow."""
        if changes and self.number is None:
            self.number = holds.take_run_number(tx)
        contracts.record_changes(
            tx, [replace(c, status=Status.HELD, held_run=self.number) for c in changes], now
        )

    def save_hold(self, tx: Connection, now: datetime) -> None:
        """Saves what this run held, for `status` and for the log."""
        if self.number is not None:
            known = contracts.count_known(tx)
            self.hold = holds.save_report(tx, self.number, self._kind, known, now)

    def _begins(self, tx: Connection) -> bool:
        # The first full scan sends everything; once one has ended there is a fingerprint.
        if self._guard.max_changes is None or control.load(tx, Fingerprint) is None:
            return False
        least = least_known(self._guard)
        return contracts.count_known(tx, least) >= least

    def _unjudged(self, tx: Connection) -> set[int]:
        """Returns the runs to be judged at the end of this one: its own, and interrupted ones."""
        under_way = self._capture.guarded_runs - {self.number}
        return holds.unjudged_runs(tx) - under_way

    def _hold_excess(self, tx: Connection, changes: list[Change]) -> list[Change]:
        held = judge_run(tx, self._capture, tally_changes(changes))
        if not held:
            return changes
        self.number = holds.take_run_number(tx)
        return [
            replace(change, status=Status.HELD, held_run=self.number)
            if effect_of(change) in held
            else change
            for change in changes
        ]

    def _defer(self, tx: Connection, changes: list[Change]) -> list[Change]:
        if not any(map(effect_of, changes)):
            return changes
        if self.number is None:
            self.number = holds.take_run_number(tx)
            self._capture.guarded_runs.add(self.number)
            holds.save_unjudged_runs(tx, holds.unjudged_runs(tx) | {self.number})
        return [
            replace(change, status=Status.PENDING, held_run=self.number)
            if effect_of(change)
            else change
            for change in changes
        ]


def interrupted_runs(tx: Connection, capture: Capture) -> set[int]:
    """Returns the runs that were cut short: their changes are judged at the end of another."""
    return holds.unjudged_runs(tx) - capture.guarded_runs


def judge_run(tx: Connection, capture: Capture, tally: Tally) -> Held:
    """Returns what of a run with this tally is held, counting no more contracts than decide it."""
    guard = capture.config.guard
    most = count_limit(guard, tally)
    return judge(guard, tally, contracts.count_known(tx, most)) if most else Held()
