"""What one daemon alone does for a state: polls, reconciles, requests of commands, housekeeping."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from cdc_sync.capture.loop import CaptureLoop, keep_reconcile
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.daemon.requests import Requests
from cdc_sync.daemon.schedule import build_schedule, was_missed
from cdc_sync.delivery.leases import free_dead
from cdc_sync.errors import CdcSyncError, StateUnavailable
from cdc_sync.source.listener import listen
from cdc_sync.state import control, history
from cdc_sync.state.history import Run
from cdc_sync.sync import Sync

log = structlog.get_logger()

PRUNED_AT_ONCE = 5000

Start = Callable[[str, Callable[[threading.Event], None], threading.Event], threading.Thread]


class Capturing:
    """Begins when this daemon takes the lease, and ends when it loses it or stops."""

    def __init__(self, sync: Sync, loop: CaptureLoop, start: Start) -> None:
        self._sync = sync
        self._loop = loop
        self._start = start
        self._reconcile_due = threading.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.running = False

    @property
    def ending(self) -> bool:
        """Whether something that was told to stop is still at work."""
        return not self.running and any(thread.is_alive() for thread in self._threads)

    def begin(self) -> None:
        """Starts everything; where another captured until now, nothing it did is taken as known."""
        self._stop = stop = threading.Event()
        self._reconcile_due.clear()
        self._sync.capture.forget()
        free_dead(self._sync.state)
        self._schedule = self._build_schedule()
        if self._reconcile_was_missed():
            self._reconcile_due.set()
        work = {
            "capture": self._loop.run,
            "requests": Requests(self._sync, self._loop).run,
            "reconcile": self._reconcile,
        }
        work["listener"] = self._listen
        self._threads = [self._start(name, run, stop) for name, run in work.items()]
        self._schedule.start()
        self.running = True

    def end(self) -> list[threading.Thread]:
        """Tells everything to stop; the threads that are to be waited for."""
        if not self.running:
            return []
        self.running = False
        self._stop.set()
        self._schedule.shutdown(wait=False)
        self._loop.wake()
        self._reconcile_due.set()
        return self._threads

    def reschedule(self) -> None:
        """The configured schedule is another one now."""
        if self.running:
            self._schedule.shutdown(wait=False)
            self._schedule = self._build_schedule()
            self._schedule.start()

    def _build_schedule(self) -> BackgroundScheduler:
        return build_schedule(
            self._sync.config.schedule,
            wake_poll=self._loop.wake,
            wake_reconcile=self._reconcile_due.set,
            prune=self._prune,
        )

    def _listen(self, stop: threading.Event) -> None:
        source = self._sync.config.source
        url, channel = source.url.get_secret_value(), source.notify_channel
        if channel is not None:
            listen(url, channel, self._loop.wake, stop)

    def _reconcile_was_missed(self) -> bool:
        with self._sync.state.read() as tx:
            last = control.get(tx, control.LAST_RECONCILE)
        if last is None:
            return False  # the first run reads everything
        text = self._sync.config.schedule.reconcile
        if last["error"] and text != "never":
            return True  # it failed, or was stopped before its end
        started = datetime.fromisoformat(last["started"])
        return was_missed(text, started, self._sync.capture.now())

    def _reconcile(self, stop: threading.Event) -> None:
        while self._reconcile_due.wait() and not stop.is_set():
            self._reconcile_due.clear()
            self._reconcile_once(stop)

    def _reconcile_once(self, stop: threading.Event) -> None:
        capture = self._sync.capture
        run = Run("reconcile", capture.now())
        try:
            run = keep_reconcile(capture, reconcile(capture, stop))
            told = {"rows": run.rows, "changed": run.changed, "missed": run.missed}
            log.info("reconcile.finished", error=run.error, **told)
        except CdcSyncError as error:
            log.warning("reconcile.failed", reason=str(error))
            self._keep_failure(run.ended(capture.now(), str(error)))
        self._sync.delivery.wake()

    def _keep_failure(self, run: Run) -> None:
        # Where it is the state that fails, that is told already.
        with suppress(StateUnavailable):
            keep_reconcile(self._sync.capture, run)

    def _prune(self) -> None:
        before = self._sync.capture.now() - self._sync.config.state.history
        try:
            while not self._stop.is_set():
                with self._sync.state.begin() as tx:
                    if history.prune(tx, before, PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                        return
        except StateUnavailable as error:
            log.warning("state.unavailable", reason=str(error))
