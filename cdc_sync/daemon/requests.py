"""What commands ask of a running daemon: a poll, a reconcile, a discard; done and reported."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cdc_sync.capture.loop import CaptureLoop, keep, keep_reconcile
from cdc_sync.capture.reconcile import look_afresh, reconcile
from cdc_sync.errors import CdcSyncError, StateUnavailable
from cdc_sync.report import report_of
from cdc_sync.state import control
from cdc_sync.state.history import Run
from cdc_sync.sync import Sync

LOOK_EVERY_SECONDS = 0.5
REST_WITHIN_SECONDS = 3600.0
ABANDONED_AFTER = timedelta(minutes=1)


class Requests:
    """Looks for requests and answers them, one after the other."""

    def __init__(self, sync: Sync, capture: CaptureLoop) -> None:
        self._sync = sync
        self._begun: deque[str] = deque(maxlen=1000)  # the latest requests, answered or not
        self._do: dict[str, Callable[[threading.Event], Run]] = {
            "once": capture.poll,
            "reconcile": self._reconcile,
            "discard": self._look_afresh,
        }

    def run(self, stop: threading.Event) -> None:
        """Answers until `stop`. What was asked long before has nobody who waits for it."""
        is_first = True
        while not stop.wait(LOOK_EVERY_SECONDS):
            try:
                if is_first:
                    with self._sync.state.begin() as tx:
                        control.drop_requests(tx, self._sync.capture.now() - ABANDONED_AFTER)
                    is_first = False
                with self._sync.state.read() as tx:
                    waiting = control.requests(tx)
                for name, request in waiting.items():
                    if request["id"] not in self._begun:
                        self._begin(name, request, stop)
            except StateUnavailable:
                continue  # the loops tell it; the request is still there afterwards

    def _begin(self, name: str, request: dict[str, Any], stop: threading.Event) -> None:
        """Does it; delivery is waited for beside the next request."""
        self._begun.append(request["id"])
        before = Counter(self._sync.delivery.counts)
        kind, started = request["kind"], self._sync.capture.now()
        try:
            run = self._do[kind](stop)
        except CdcSyncError as error:
            run = Run(kind, started).ended(self._sync.capture.now(), str(error))
        self._sync.delivery.wake()
        given = (name, request, run, before, stop)
        threading.Thread(target=self._answer, args=given, name="answer", daemon=True).start()

    def _answer(
        self,
        name: str,
        request: dict[str, Any],
        run: Run,
        before: Counter[str],
        stop: threading.Event,
    ) -> None:
        self._sync.delivery.wait_for_rest(stop, REST_WITHIN_SECONDS)
        while True:
            try:
                report = report_of(self._sync, run, before)
                with self._sync.state.begin() as tx:
                    control.answer(tx, name, request, report)
                break
            except StateUnavailable:
                if stop.wait(1):
                    break

    def _reconcile(self, stop: threading.Event) -> Run:
        return keep_reconcile(self._sync.capture, reconcile(self._sync.capture, stop))

    def _look_afresh(self, stop: threading.Event) -> Run:
        run = look_afresh(self._sync.capture, stop)
        keep(self._sync.capture, run)
        return run
