"""The process that stays: starts and stops its threads in order, and says that it is there."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog

from cdc_sync.capture.loop import CaptureLoop, horizon_document
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.contract import Status
from cdc_sync.daemon.requests import Requests
from cdc_sync.daemon.schedule import build_schedule
from cdc_sync.daemon.systemd import notify, watchdog_seconds
from cdc_sync.errors import CdcSyncError, StateUnavailable
from cdc_sync.report import keep_reconcile
from cdc_sync.source.engine import STATEMENT_TIMEOUT_SECONDS
from cdc_sync.state import contracts, control, history
from cdc_sync.sync import Sync

log = structlog.get_logger()

BEAT_SECONDS = 1.0
PRESENCE_SECONDS = 4.0  # the longest silence of the presence row while nothing happens
PRUNED_AT_ONCE = 5000
HUNG_AFTER_SECONDS = STATEMENT_TIMEOUT_SECONDS + 120.0  # one page of the source may take so long


class Daemon:
    """A sync that runs until it is told to stop."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync
        self._since = sync.capture.now()
        self._stop = threading.Event()
        self._reconcile_due = threading.Event()
        self._capture = CaptureLoop(sync.capture, sync.delivery.wake)
        self._requests = Requests(sync, self._capture)
        self._threads: list[threading.Thread] = []
        self._broken: BaseException | None = None
        self._told: dict[str, Any] = {}
        self._told_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`; then ends within one request's time, with nothing lost.

        Raises what ended a thread that should not end, so that systemd starts us anew.
        """
        schedule = build_schedule(
            self._sync.config.schedule,
            wake_poll=self._capture.wake,
            wake_reconcile=self._reconcile_due.set,
            prune=self._prune,
        )
        self._start("delivery", self._sync.delivery.run)
        self._start("capture", self._capture.run)
        self._start("requests", self._requests.run)
        self._start("reconcile", self._reconcile)
        schedule.start()
        notify(READY="1", STATUS="running")
        log.info("daemon.started", pid=os.getpid(), state=self._sync.state.name)
        try:
            while not stop.wait(BEAT_SECONDS) and self._broken is None:
                self._beat()
        finally:
            notify(STOPPING="1", STATUS="stopping")
            self._stop.set()
            schedule.shutdown(wait=False)
            self._end()
        if self._broken is not None:
            raise self._broken

    def _start(self, name: str, work: Callable[[threading.Event], None]) -> None:
        def guarded() -> None:
            try:
                work(self._stop)
            except BaseException as error:  # a thread's end is the daemon's
                log.exception("daemon.thread_died", thread=name)
                self._broken = error

        # A statement that hangs must not keep the process: nothing is lost with it.
        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _end(self) -> None:
        self._capture.wake()
        self._reconcile_due.set()
        self._sync.delivery.wake()
        until = time.monotonic() + self._sync.config.customergauge.timeout.total_seconds() + 10
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        try:
            with self._sync.state.begin() as tx:
                control.put(tx, control.DAEMON, None)
        except StateUnavailable as error:
            log.warning("state.unavailable", reason=str(error))
        log.info("daemon.stopped")

    def _beat(self) -> None:
        """Says that we are there, to `status` and to systemd."""
        try:
            self._sync.keep_lock()
            self._tell()
        except StateUnavailable:
            return  # the loops tell it; here a beat is missed
        interval = watchdog_seconds()
        if interval is not None and not self._hung(interval):
            notify(WATCHDOG="1")

    def _hung(self, interval: float) -> bool:
        longest = max(HUNG_AFTER_SECONDS, interval)
        oldest = min(self._capture.came_round, self._sync.delivery.came_round)
        return time.monotonic() - oldest > longest

    def _tell(self) -> None:
        last = self._capture.last
        told = {
            control.LAST_POLL: last.document() if last else None,
            control.HORIZON: horizon_document(self._sync.capture),
        }
        age = time.monotonic() - self._told_at
        if told == self._told and age < PRESENCE_SECONDS:
            return
        if age < 2 * BEAT_SECONDS and last is not None and not last.run.changed and self._told:
            return
        self._told, self._told_at = told, time.monotonic()
        with self._sync.state.begin() as tx:
            for key, value in told.items():
                control.put(tx, key, value)
            control.put(tx, control.DAEMON, self._presence())
        notify(STATUS=self._status_line())

    def _presence(self) -> dict[str, Any]:
        token = self._sync.delivery.token_expires()
        return {
            "pid": os.getpid(),
            "since": self._since.isoformat(),
            "beat_at": self._sync.capture.now().isoformat(),
            "role": "active",
            "token_expires": token.isoformat() if token else None,
        }

    def _status_line(self) -> str:
        with self._sync.state.read() as tx:
            counts = contracts.counts(tx)
        gate, last = self._sync.delivery.gate, self._capture.last
        parts = [
            f"{s.value} {counts[s]:,}" for s in (Status.SYNCED, Status.PENDING, Status.REJECTED)
        ]
        if gate.reason:
            parts.append(f"API {gate.state}: {gate.reason}")
        if last is not None and last.run.error:
            parts.append(last.run.error)
        return "; ".join(parts)

    def _reconcile(self, stop: threading.Event) -> None:
        while self._reconcile_due.wait() and not stop.is_set():
            self._reconcile_due.clear()
            self._reconcile_once(stop)

    def _reconcile_once(self, stop: threading.Event) -> None:
        try:
            run = reconcile(self._sync.capture, stop)
            keep_reconcile(self._sync, run)
            told = {"rows": run.rows, "changed": run.changed, "missed": run.missed}
            log.info("reconcile.finished", error=run.error, **told)
        except CdcSyncError as error:
            log.warning("reconcile.failed", reason=str(error))
        self._sync.delivery.wake()

    def _prune(self) -> None:
        before = self._sync.capture.now() - self._kept()
        try:
            while not self._stop.is_set():
                with self._sync.state.begin() as tx:
                    if history.prune(tx, before, PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                        return
        except StateUnavailable as error:
            log.warning("state.unavailable", reason=str(error))

    def _kept(self) -> timedelta:
        return self._sync.config.state.history
