"""The loops of capture: polls; beside them sweeps, reconciles and rechecks, with their progress.

A failed poll is repeated after a growing pause. What a run ends with is logged and saved here.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from cdc_sync.capture.page import Capture, Progress
from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import recheck_held, reconcile
from cdc_sync.capture.sweep import sweep
from cdc_sync.config.units import format_duration
from cdc_sync.errors import CdcSyncError, SourceMistake, SourceUnavailable, StateUnavailable
from cdc_sync.rules.sweep import LastSweep, after_sweep, next_window
from cdc_sync.rules.watermark import lag_seconds, write_watermark
from cdc_sync.state import control, history
from cdc_sync.state.history import Run
from cdc_sync.state.values import HorizonReport, PollReport, ReconcileReport, Sweeps
from cdc_sync.wording import format_seconds

log = structlog.get_logger()
SWEEP_CHECK_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 60.0
LOG_AGAIN_AFTER_SECONDS = 60.0  # a failure that repeats is logged at most so often


@dataclass(frozen=True, slots=True)
class LastPoll:
    """How the last poll ended, and when one last ended well."""

    run: Run
    good_at: datetime

    def report(self) -> PollReport:
        """As the state keeps it for `status`."""
        run = self.run
        finished = run.finished or run.started
        return PollReport(run.started, finished, self.good_at, run.rows, run.changed, run.error)


class PollLoop:
    """Runs polls, one at a time: at every wake, and at the latest after two intervals."""

    def __init__(self, capture: Capture, wake_delivery: Callable[[], None]) -> None:
        self._capture = capture
        self._wake_delivery = wake_delivery
        self._woken = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._failures = 0
        self._logged_at, self._logged_reason = 0.0, ""
        self._logged_basis: tuple[str, str | None] | None = None
        self._logged_holders: frozenset[str] = frozenset()
        self._since = capture.now()
        self.last: LastPoll | None = None
        self.last_progress = time.monotonic()  #: of the loop or of its poll, for the watchdog

    def wake(self) -> None:
        """Makes a poll due now."""
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Polls until `stop`; a source or a state that is away is waited for."""
        # The scheduler goes by the wall clock, which a person may set back by a day: without a
        # wake for two intervals a poll is due all the same.
        due = time.monotonic()
        while not stop.is_set():
            self.last_progress = time.monotonic()
            left = due - self.last_progress
            if left > 0 and not self._woken.wait(min(left, 1.0)):
                continue
            self._woken.clear()
            due = time.monotonic() + 2 * self._capture.config.schedule.poll.total_seconds()
            try:
                self.poll(stop)
            except CdcSyncError:
                stop.wait(min(LONGEST_BACKOFF_SECONDS, 0.5 * 2 ** min(self._failures, 8)))
                due = time.monotonic()

    def poll(self, stop: threading.Event) -> Run:
        """Runs one poll; what it found is delivered at once. Raises what the poll raises."""
        with self._one_at_a_time:
            started, began = self._capture.now(), time.monotonic()
            try:
                run = poll(self._capture, stop, self._page_recorded)
            except (SourceUnavailable, SourceMistake, StateUnavailable) as error:
                self._measure(began, well=False)
                self._failed(Run("poll", started), error)
                raise
            self._measure(began, well=True)
            self._ended(run)
            return run

    def lag(self) -> float | None:
        """Returns how far polls are behind the source's clock by now; None if not known."""
        horizon, read_to = self._capture.horizon, self._capture.read_to
        if horizon is None or read_to is None:
            return None
        return lag_seconds(read_to.value, horizon.clock, horizon.taken_at, self._capture.now())

    def _page_recorded(self, run: Run) -> None:
        # A first load may take long: every page of it is a sign of life, and is delivered at once.
        self.last_progress = time.monotonic()
        self.last = LastPoll(run.ended(self._capture.now()), self._capture.now())
        self._wake_delivery()

    def _measure(self, began: float, *, well: bool) -> None:
        seconds, now = time.monotonic() - began, self._capture.now()
        self._capture.measures.record_poll(now, seconds, well=well, lag=self.lag())

    def _failed(self, run: Run, error: CdcSyncError) -> None:
        self._failures += 1
        self.last = LastPoll(run.ended(self._capture.now(), str(error)), self._last_good_at())
        now = time.monotonic()
        is_due = now - self._logged_at >= LOG_AGAIN_AFTER_SECONDS
        if self._failures == 1 or is_due or str(error) != self._logged_reason:
            self._logged_at, self._logged_reason = now, str(error)
            log.warning("poll.failed", reason=str(error), failures=self._failures)

    def _last_good_at(self) -> datetime:
        """Returns when a poll last ended well, also one of a daemon before."""
        if self.last is not None:
            return self.last.good_at
        with suppress(StateUnavailable), self._capture.state.read() as tx:
            if (report := control.load(tx, PollReport)) is not None:
                return report.good_at
        return self._since

    def _ended(self, run: Run) -> None:
        _count_rows(self._capture, run)
        if run.kind != "poll":  # everything was read
            _save_last_reconcile(self._capture, run)
        self.last = LastPoll(run, run.finished or self._capture.now())
        if self._failures:
            log.info("source.recovered", failures=self._failures)
            self._failures = 0
        if run.changed:
            self._wake_delivery()
            save_run(self._capture, run)
        self._log_horizon()
        level = log.info if run.changed else log.debug
        level("poll.finished", kind=run.kind, rows=run.rows, changed=run.changed)

    def _log_horizon(self) -> None:
        """Logs each change of the horizon's basis, and of who holds the watermark back."""
        horizon = self._capture.horizon
        if horizon is None:
            return
        if self._logged_basis != (horizon.basis, horizon.reason):
            level = log.info if horizon.reason is None else log.warning
            level("horizon.basis", basis=horizon.basis, reason=horizon.reason, mend=horizon.hint)
            self._logged_basis = (horizon.basis, horizon.reason)
        long = frozenset(one.key for one in horizon.holders if one.started is not None)
        if long and not long <= self._logged_holders:
            log.warning("watermark.held_back", by=horizon.held_back_by)
        elif self._logged_holders and not long:
            log.info("watermark.free")
        self._logged_holders = long


class ReconcileLoop:
    """Reconciles when woken; reconciles and rechecks that somebody asks for may run beside it."""

    def __init__(self, capture: Capture, wake_delivery: Callable[[], None]) -> None:
        self._capture = capture
        self._wake_delivery = wake_delivery
        self._woken = threading.Event()
        self._progress: dict[object, float] = {}  # of each run under way

    def wake(self) -> None:
        """Makes a reconcile due now."""
        self._woken.set()

    def clear_wakes(self) -> None:
        """Drops the wakes of before, as that of the last stop."""
        self._woken.clear()

    def run(self, stop: threading.Event) -> None:
        """Reconciles at every wake until `stop`, which needs a wake of its own."""
        while self._woken.wait() and not stop.is_set():
            self._woken.clear()
            started = self._capture.now()
            try:
                run = self.reconcile(stop)
                counts = {"rows": run.rows, "changed": run.changed, "missed": run.missed}
                log.info("reconcile.finished", error=run.error, **counts)
            except CdcSyncError as error:
                log.warning("reconcile.failed", reason=str(error))
                failed = Run("reconcile", started).ended(self._capture.now(), str(error))
                with suppress(StateUnavailable):  # the poll loop logs that
                    save_reconcile(self._capture, failed)
            self._wake_delivery()

    def reconcile(self, stop: threading.Event) -> Run:
        """Compares the whole source with the whole state. Raises what `reconcile` raises."""
        with self._watched() as progress:
            run = reconcile(self._capture, stop, progress)
            save_reconcile(self._capture, run)
            return run

    def recheck_held(self, stop: threading.Event) -> Run:
        """Reads again from the source what is held. Raises what `recheck_held` raises."""
        with self._watched() as progress:
            run = recheck_held(self._capture, stop, progress)
            save_run(self._capture, run)
            return run

    def last_progress(self) -> float | None:
        """Returns when the run that is stuck longest last got on; None while none is under way."""
        return min(list(self._progress.values()), default=None)

    @contextmanager
    def _watched(self) -> Iterator[Progress]:
        key = object()

        def page_recorded(_run: Run) -> None:
            self._progress[key] = time.monotonic()
            self._wake_delivery()

        self._progress[key] = time.monotonic()
        try:
            yield page_recorded
        finally:
            del self._progress[key]


class SweepLoop:
    """Sweeps each window in its time, the shortest that is due first."""

    def __init__(self, capture: Capture, wake_delivery: Callable[[], None]) -> None:
        self._capture = capture
        self._wake_delivery = wake_delivery
        self._stretched: set[timedelta] = set()  # windows that this was logged for
        self.last_progress: float | None = None  #: of the sweep under way, for the watchdog

    def run(self, stop: threading.Event) -> None:
        """Sweeps what is due until `stop`."""
        while not stop.wait(SWEEP_CHECK_SECONDS):
            try:
                window = self._due_window()
                if window is not None:
                    self.sweep(window, stop)
            except CdcSyncError as error:
                log.warning("sweep.failed", reason=str(error))
                stop.wait(LONGEST_BACKOFF_SECONDS)

    def sweep_shortest(self, stop: threading.Event) -> Run | None:
        """Sweeps the shortest window now; None where there is nothing to sweep."""
        windows = self._capture.config.source.sweeps
        return self.sweep(windows[0], stop) if windows else None

    def sweep(self, window: timedelta, stop: threading.Event) -> Run | None:
        """Sweeps one window, and saves that it did. Returns and raises what `sweep` does."""
        self.last_progress = time.monotonic()
        try:
            began = time.monotonic()
            run = sweep(self._capture, window, stop, self._page_recorded)
            if run is not None and not stop.is_set():
                self._save(run, LastSweep(window, run.started, time.monotonic() - began))
            return run
        finally:
            self.last_progress = None

    def _due_window(self) -> timedelta | None:
        windows = self._capture.config.source.sweeps
        if not windows:
            return None
        with self._capture.state.read() as tx:
            swept = control.load(tx, Sweeps) or Sweeps()
        return next_window(windows, swept.last, self._capture.now())

    def _page_recorded(self, _run: Run) -> None:
        self.last_progress = time.monotonic()
        self._wake_delivery()

    def _save(self, run: Run, swept: LastSweep) -> None:
        with self._capture.state.begin() as tx:
            before = control.load(tx, Sweeps) or Sweeps()
            control.save(tx, Sweeps(after_sweep(before.last, swept)))
            if run.changed:
                history.log_run(tx, run)
        _count_rows(self._capture, run)
        window, counts = format_duration(swept.window), {"rows": run.rows, "changed": run.changed}
        level = log.info if run.changed else log.debug
        level("sweep.finished", window=window, late=run.late, seconds=run.late_seconds, **counts)
        if swept.leaves_gaps and swept.window not in self._stretched:
            self._stretched.add(swept.window)
            every = format_seconds(swept.interval.total_seconds())
            log.warning("sweep.stretched", window=window, took=round(swept.seconds), every=every)


class Loops:
    """The loops of one capture; they call `wake_delivery` for what a page has made due."""

    def __init__(self, capture: Capture, wake_delivery: Callable[[], None] = lambda: None) -> None:
        self.polls = PollLoop(capture, wake_delivery)
        self.reconciles = ReconcileLoop(capture, wake_delivery)
        self.sweeps = SweepLoop(capture, wake_delivery)

    def poll_and_sweep(self, stop: threading.Event) -> Run:
        """Polls, then sweeps the shortest window; the run counts what both have found."""
        run = self.polls.poll(stop)
        if run.kind != "poll" or stop.is_set():
            return run  # everything was read
        late = self.sweeps.sweep_shortest(stop)
        if late is None or not late.changed:
            return run
        return replace(
            run,
            rows=run.rows + late.changed,
            created=run.created + late.created,
            updated=run.updated + late.updated,
            rejected=run.rejected + late.rejected,
            gone=run.gone + late.gone,
            late=late.late,
            late_seconds=late.late_seconds,
        )


def save_run(capture: Capture, run: Run) -> None:
    """Adds a run to the history."""
    with capture.state.begin() as tx:
        history.log_run(tx, run)


def save_reconcile(capture: Capture, run: Run) -> None:
    """Counts a reconcile, and adds it to the history and to `status`."""
    save_run(capture, run)
    _count_rows(capture, run)
    _save_last_reconcile(capture, run)


def save_last_poll(capture: Capture, last: LastPoll | None) -> None:
    """Puts how the last poll ended where `status` reads it, for a run without a daemon."""
    horizon = horizon_report(capture)
    with capture.state.begin() as tx:
        if last is not None:
            control.save(tx, last.report())
        if horizon is not None:
            control.save(tx, horizon)


def horizon_report(capture: Capture) -> HorizonReport | None:
    """The last horizon as the state keeps it for `status`."""
    horizon, read_to = capture.horizon, capture.read_to
    if horizon is None:
        return None
    return HorizonReport(
        write_watermark(horizon.value),
        horizon.held_back_by,
        horizon.basis,
        horizon.reason,
        horizon.hint,
        horizon.clock,
        (write_watermark(read_to.value), read_to.version) if read_to else None,
        horizon.taken_at,
    )


def _save_last_reconcile(capture: Capture, run: Run) -> None:
    report = ReconcileReport(
        run.started, run.finished, run.rows, run.changed, run.missed, run.error
    )
    with capture.state.begin() as tx:
        control.save(tx, report)


def _count_rows(capture: Capture, run: Run) -> None:
    capture.measures.record_rows(run.rows, run.unchanged, run.missed)
