"""What the one daemon with the lease does: polls, reconciles, requests of commands, pruning."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from cdc_sync.capture.loop import Loops
from cdc_sync.config.units import parse_duration
from cdc_sync.errors import CdcSyncError, StateUnavailable, StateUnreadable
from cdc_sync.operations.runs import RUNS, build_report
from cdc_sync.source.listener import listen
from cdc_sync.state import control, history
from cdc_sync.state.history import Run
from cdc_sync.state.outbox import free_claims_of_dead
from cdc_sync.state.values import ReconcileReport, Request
from cdc_sync.sync import Sync

log = structlog.get_logger()
PRUNED_AT_ONCE = 5000
Report = Callable[[], dict[str, Any]]
Start = Callable[[str, Callable[[threading.Event], None], threading.Event], threading.Thread]
REQUEST_POLL_SECONDS = 0.5
REST_WITHIN_SECONDS = 3600.0
CLOCK_STEP = timedelta(minutes=1)  # of the system's clock, that is followed
ABANDONED_AFTER = timedelta(minutes=1)
# Its defaults drop a job that is a second late; missed runs are joined, never two at once.
_JOBS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}


class Capturing:
    """Begins when this daemon takes the lease, and ends when it loses it or stops."""

    def __init__(self, sync: Sync, loops: Loops, start: Start) -> None:
        self._sync = sync
        self._loops = loops
        self._start = start
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._planned_offset = timedelta()  # of the system's clock, when the schedule was built
        self.running = False

    @property
    def ending(self) -> bool:
        """Whether a thread that was told to stop is still at work."""
        return not self.running and any(thread.is_alive() for thread in self._threads)

    def begin(self) -> None:
        """Starts all threads. Another daemon may have captured: nothing is taken as known."""
        self._stop = stop = threading.Event()
        self._loops.reconciles.clear_wakes()
        self._sync.capture.reset()
        free_claims_of_dead(self._sync.state, self._sync.capture.now())
        self._schedule = self._build_schedule()
        if self._reconcile_was_missed():
            self._loops.reconciles.wake()
        work = {
            "capture": self._loops.polls.run,
            "requests": Requests(self._sync, self._loops).run,
            "reconcile": self._loops.reconciles.run,
            "sweep": self._loops.sweeps.run,
        }
        source = self._sync.config.source
        if source.notify_channel is not None:
            url = source.url.get_secret_value()
            wake = self._loops.polls.wake
            work["listener"] = partial(listen, url, source.notify_channel, wake)
        self._threads = [self._start(name, run, stop) for name, run in work.items()]
        self._schedule.start()
        self.running = True

    def end(self) -> list[threading.Thread]:
        """Tells all threads to stop and returns them, to be joined."""
        if not self.running:
            return []
        self.running = False
        self._stop.set()
        self._schedule.shutdown(wait=False)
        self._loops.polls.wake()
        self._loops.reconciles.wake()
        return self._threads

    def follow_clock(self) -> None:
        """Plans everything anew when the system's clock was set: triggers go by it."""
        step = self._clock_offset() - self._planned_offset
        if self.running and abs(step) >= CLOCK_STEP:
            log.warning("clock.stepped", seconds=round(step.total_seconds()))
            self.reschedule()
            if self._reconcile_was_missed():
                self._loops.reconciles.wake()

    def _clock_offset(self) -> timedelta:
        return self._sync.capture.now() - self._sync.capture.steady_now()

    def reschedule(self) -> None:
        """Applies a schedule that was changed in the configuration."""
        if self.running:
            self._schedule.shutdown(wait=False)
            self._schedule = self._build_schedule()
            self._schedule.start()

    def _build_schedule(self) -> BackgroundScheduler:
        """Builds the schedule. Its jobs only wake: they cannot block, be skipped or be late."""
        self._planned_offset = self._clock_offset()
        schedule = self._sync.config.schedule
        scheduler = BackgroundScheduler(timezone=UTC, job_defaults=_JOBS)
        every_poll = IntervalTrigger(seconds=schedule.poll.total_seconds())
        scheduler.add_job(self._loops.polls.wake, every_poll, id="poll")
        if (trigger := _trigger(schedule.reconcile)) is not None:
            scheduler.add_job(self._loops.reconciles.wake, trigger, id="reconcile")
        scheduler.add_job(self._prune, IntervalTrigger(hours=1), id="prune")
        return scheduler

    def _reconcile_was_missed(self) -> bool:
        try:
            with self._sync.state.read() as tx:
                last = control.load(tx, ReconcileReport)
        except StateUnreadable:
            return True  # the reconcile writes it anew
        if last is None:
            return False  # the first run reads everything
        text = self._sync.config.schedule.reconcile
        if last.error and text != "never":
            return True  # it failed, or was stopped before its end
        return was_missed(text, last.started, self._sync.capture.now())

    def _prune(self) -> None:
        before = self._sync.capture.now() - self._sync.config.state.history
        try:
            while not self._stop.is_set():
                with self._sync.state.begin() as tx:
                    if history.prune(tx, before, PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                        return
        except StateUnavailable as error:
            log.warning("state.unavailable", reason=str(error))


class Requests:
    """Runs what commands ask for through the state, one after the other, and reports."""

    def __init__(self, sync: Sync, loops: Loops) -> None:
        self._sync = sync
        self._begun_ids: deque[str] = deque(maxlen=1000)  # the latest requests, answered or not
        self._loops = loops

    def run(self, stop: threading.Event) -> None:
        """Serves requests until `stop`. First it drops those whose command has given up."""
        is_first = True
        while not stop.wait(REQUEST_POLL_SECONDS):
            try:
                if is_first:
                    with self._sync.state.begin() as tx:
                        before = self._sync.capture.now() - ABANDONED_AFTER
                        control.remove_abandoned_requests(tx, before)
                    is_first = False
                with self._sync.state.read() as tx:
                    waiting = control.unanswered_requests(tx)
            except StateUnavailable:
                continue  # the loops log it; the request is still there afterwards
            for name, request in waiting.items():
                if request.id not in self._begun_ids:
                    self._run(name, request, stop)

    def _run(self, name: str, request: Request, stop: threading.Event) -> None:
        """Runs it; its report waits for delivery in a thread of its own, beside the next one."""
        self._begun_ids.append(request.id)
        before = Counter(self._sync.delivery.counts)
        started = self._sync.capture.now()
        try:
            run = RUNS[request.kind](self._loops, stop)
        except CdcSyncError as error:
            run = Run(request.kind, started).ended(self._sync.capture.now(), str(error))
        self._sync.delivery.wake()
        given = (name, request, partial(build_report, self._sync, run, before), stop)
        threading.Thread(target=self._answer, args=given, name="answer", daemon=True).start()

    def _answer(self, name: str, request: Request, report: Report, stop: threading.Event) -> None:
        self._sync.delivery.wait_for_rest(stop, REST_WITHIN_SECONDS)
        while True:
            try:
                document = report()
                with self._sync.state.begin() as tx:
                    control.answer(tx, name, request, document)
                break
            except StateUnavailable:
                if stop.wait(1):
                    break


def was_missed(text: str, last: datetime, now: datetime) -> bool:
    """Whether a reconcile was due since the last one began, while nobody ran."""
    trigger = _trigger(text)
    due = trigger and trigger.get_next_fire_time(last, last)
    return due is not None and (due <= now or now < last)  # the clock was set back since


def _trigger(text: str) -> BaseTrigger | None:
    if text == "never":
        return None
    if " " in text.strip():
        return CronTrigger.from_crontab(text, timezone=UTC)
    return IntervalTrigger(seconds=parse_duration(text).total_seconds())
