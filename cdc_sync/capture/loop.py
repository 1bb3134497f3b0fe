"""Polls at its interval and whenever woken by a person. Backs off while the source is away."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from cdc_sync.capture.page import Capture
from cdc_sync.capture.poll import poll
from cdc_sync.errors import CdcSyncError, SourceMistake, SourceUnavailable, StateUnavailable
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.state import control, history
from cdc_sync.state.history import Run
from cdc_sync.wording import format_instant

log = structlog.get_logger()
LONGEST_BACKOFF_SECONDS = 60.0
TOLD_EVERY_SECONDS = 60.0  # a repeated failure is told at most so often


@dataclass(frozen=True, slots=True)
class LastPoll:
    """How the last poll ended, and when one last ended well."""

    run: Run
    good_at: datetime

    def document(self) -> dict[str, Any]:
        """As the state keeps it for `status`."""
        finished = self.run.finished or self.run.started
        return {
            "started": self.run.started.isoformat(),
            "finished": finished.isoformat(),
            "good_at": self.good_at.isoformat(),
            "rows": self.run.rows,
            "changed": self.run.changed,
            "error": self.run.error,
        }


class CaptureLoop:
    """Runs polls, one at a time, and remembers how they ended."""

    def __init__(self, capture: Capture, wake_delivery: Callable[[], None]) -> None:
        self._capture = capture
        self._wake_delivery = wake_delivery
        self._wakes = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._failures = 0
        self._told_at, self._told_reason = 0.0, ""
        self._since = capture.now()
        self.last: LastPoll | None = None
        self.came_round = time.monotonic()  #: the last progress, for the watchdog
        self._told_horizon: tuple[str, str | None] | None = None
        self._told_holders: frozenset[str] = frozenset()
        capture.progress = self._progressed

    def wake(self) -> None:
        """A poll is due now."""
        self._wakes.set()

    def lag(self) -> float | None:
        """How far the last poll was behind the source's clock; None where that is not known."""
        horizon, read_to = self._capture.horizon, self._capture.read_to
        if horizon is None or read_to is None or not isinstance(read_to.value, datetime):
            return None
        return max(0.0, (horizon.clock - read_to.value).total_seconds())

    def run(self, stop: threading.Event) -> None:
        """Polls at every wake until `stop`; a source or a state that is away is waited for."""
        # The schedule goes by the wall clock, which a person may set back by a day: without a
        # wake for two intervals a poll is due all the same.
        due = time.monotonic()
        while not stop.is_set():
            self.came_round = time.monotonic()
            left = due - self.came_round
            if left > 0 and not self._wakes.wait(min(left, 1.0)):
                continue
            self._wakes.clear()
            due = time.monotonic() + 2 * self._capture.config.schedule.poll.total_seconds()
            try:
                self.poll(stop)
            except CdcSyncError:
                stop.wait(min(LONGEST_BACKOFF_SECONDS, 0.5 * 2 ** min(self._failures, 8)))
                due = time.monotonic()

    def poll(self, stop: threading.Event) -> Run:
        """One poll; what it found is delivered at once. Raises what the poll raises."""
        with self._one_at_a_time:
            started, began = self._capture.now(), time.monotonic()
            try:
                run = poll(self._capture, stop)
            except (SourceUnavailable, SourceMistake, StateUnavailable) as error:
                self._measure(began, well=False)
                self._failed(Run("poll", started), error)
                raise
            self._measure(began, well=True)
            count_rows(self._capture, run)
            if run.kind != "poll":  # everything was read
                note_reconcile(self._capture, run)
            self._ended(run)
            return run

    def _measure(self, began: float, *, well: bool) -> None:
        seconds, lag = time.monotonic() - began, self.lag() if well else None
        self._capture.measures.poll(self._capture.now(), seconds, well=well, lag=lag)

    def _ended(self, run: Run) -> None:
        self.last = LastPoll(run, run.finished or self._capture.now())
        if self._failures:
            log.info("source.recovered", failures=self._failures)
            self._failures = 0
        if run.changed:
            self._wake_delivery()
            keep(self._capture, run)
        self._tell_horizon()
        level = log.info if run.changed else log.debug
        level("poll.finished", kind=run.kind, rows=run.rows, changed=run.changed)

    def _tell_horizon(self) -> None:
        """Once for each change: which rung is in force and why, and who holds the watermark."""
        horizon = self._capture.horizon
        if horizon is None:
            return
        if self._told_horizon != (horizon.basis, horizon.reason):
            level = log.info if horizon.reason is None else log.warning
            level("horizon.basis", basis=horizon.basis, reason=horizon.reason, mend=horizon.hint)
            self._told_horizon = (horizon.basis, horizon.reason)
        long = frozenset(one.key for one in horizon.holders if one.started is not None)
        if long and not long <= self._told_holders:
            log.warning("watermark.held_back", by=horizon.held_back_by)
        elif self._told_holders and not long:
            log.info("watermark.free")
        self._told_holders = long

    def _failed(self, run: Run, error: CdcSyncError) -> None:
        self._failures += 1
        good_at = self.last.good_at if self.last else self._since
        self.last = LastPoll(run.ended(self._capture.now(), str(error)), good_at)
        now = time.monotonic()
        is_due = now - self._told_at >= TOLD_EVERY_SECONDS
        if self._failures == 1 or is_due or str(error) != self._told_reason:
            self._told_at, self._told_reason = now, str(error)
            log.warning("poll.failed", reason=str(error), failures=self._failures)

    def _progressed(self, run: Run) -> None:
        # A first load may take long: every page of it is a sign of life, and is delivered at once.
        self.came_round = time.monotonic()
        self.last = LastPoll(run.ended(self._capture.now()), self._capture.now())
        self._wake_delivery()


def count_rows(capture: Capture, run: Run) -> None:
    """Counts what a poll or a full scan has read."""
    capture.measures.read(run.rows, run.unchanged, run.missed)


def keep(capture: Capture, run: Run) -> None:
    """Keeps a run that found something in the history."""
    with capture.state.begin() as tx:
        history.log_run(tx, run)


def note_reconcile(capture: Capture, run: Run) -> None:
    """Puts how the last full scan ended where `status` reads it."""
    document = {
        "started": format_instant(run.started),
        "finished": run.finished and format_instant(run.finished),
        "rows": run.rows,
        "changed": run.changed,
        "missed": run.missed,
        "error": run.error,
    }
    with capture.state.begin() as tx:
        control.put(tx, control.LAST_RECONCILE, document)


def horizon_document(capture: Capture) -> dict[str, Any] | None:
    """The last horizon as the state keeps it for `status`."""
    horizon, read_to = capture.horizon, capture.read_to
    if horizon is None:
        return None
    return {
        "horizon": write_watermark(horizon.value),
        "held_back_by": horizon.held_back_by,
        "basis": horizon.basis,
        "basis_reason": horizon.reason,
        "clock": horizon.clock.isoformat(),
        "read_to": [write_watermark(read_to.value), read_to.version] if read_to else None,
    }
