"""The process that stays: starts and stops its threads in order, and says that it is there."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import NamedTuple, Self

import structlog

from cdc_sync.alerts.notifier import Alerts
from cdc_sync.capture.loop import Loops, horizon_report
from cdc_sync.config.model import Config
from cdc_sync.contract import Status
from cdc_sync.daemon.capturing import Capturing
from cdc_sync.daemon.reload import Reload
from cdc_sync.daemon.systemd import notify, polls_of, status_line, watchdog_seconds
from cdc_sync.errors import CdcSyncError, StateUnavailable
from cdc_sync.log import RecentLog
from cdc_sync.source.dialects.base import STATEMENT_TIMEOUT_SECONDS
from cdc_sync.state import control
from cdc_sync.state.outbox import owner_id
from cdc_sync.state.values import HorizonReport, PollReport, Presence
from cdc_sync.sync import Sync, redaction_of
from cdc_sync.web.app import status_app
from cdc_sync.web.context import Health, PageContext
from cdc_sync.web.server import serving

log = structlog.get_logger()
BEAT_SECONDS = 1.0
PRESENCE_SECONDS = 4.0  # the longest silence of the presence row while nothing happens
FORGOTTEN_AFTER = timedelta(minutes=10)
REFUSED = "The changed configuration is wrong, and the old one in force: see the log"
HUNG_AFTER_SECONDS = STATEMENT_TIMEOUT_SECONDS + 120.0  # one page of the source may take so long
AGAIN_AFTER_SECONDS = 10.0


class _Told(NamedTuple):
    """What the state was last told of this daemon."""

    role: str | None = None
    poll: PollReport | None = None
    horizon: HorizonReport | None = None


class Daemon:
    """A sync that runs until it is told to stop."""

    def __init__(
        self,
        sync: Sync,
        recent: RecentLog | None = None,
        *,
        reload: Reload | None = None,
        sandbox_url: str | None = None,
        page_served: Callable[[str], None] = lambda _url: None,
    ) -> None:
        self._sync = sync
        self._since = sync.capture.now()
        self._name = owner_id()
        self._reload = reload
        self._stop = threading.Event()
        self._loops = Loops.of(sync.capture, sync.delivery.wake)
        self._capturing = Capturing(sync, self._loops, self._start)
        redact = redaction_of(sync.config)
        self._alerts = Alerts(
            sync.config, sync.state, redact, sync.capture.now, lambda: self._capturing.running
        )
        self._threads: list[threading.Thread] = []
        self._broken: BaseException | None = None
        self._told = _Told()
        self._told_at = 0.0
        self._page_context = PageContext(
            sync.config,
            sync.state,
            sync.measures,
            recent or RecentLog(),
            health=self._health,
            wake=sync.delivery.wake,
            now=sync.capture.now,
            sandbox_url=sandbox_url,
        )
        self._page = Page(self._page_context, page_served)

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`; then ends within one request's time, with nothing lost.

        Raises what ended a thread that should not end, so that systemd starts us anew.
        """
        for name, work in {
            "delivery": self._sync.delivery.run,
            "alerts": self._alerts.run,
        }.items():
            self._threads.append(self._start(name, work, self._stop))
        notify(READY="1", STATUS="running")
        log.info("daemon.started", pid=os.getpid(), state=self._sync.state.name)
        try:
            self._beat()  # the page is to find us there
            with self._page:
                while not stop.wait(BEAT_SECONDS) and self._broken is None:
                    self._beat()
                    self._page.beat()
                    if self._reload is not None:
                        self._reload.when_asked(self._sync.config, self._apply_config)
        finally:
            self._tell_stopping()
            self._stop.set()
            self._end()
        if self._broken is not None:
            raise self._broken

    def _apply_config(self, config: Config) -> None:
        is_rescheduled = config.schedule != self._sync.config.schedule
        self._sync.apply_config(config)
        self._page_context.config = config
        self._alerts.apply_config(config)
        if is_rescheduled:
            self._capturing.reschedule()

    def _start(
        self, name: str, work: Callable[[threading.Event], None], stop: threading.Event
    ) -> threading.Thread:
        def guarded() -> None:
            try:
                work(stop)
            except BaseException as error:  # a thread's end is the daemon's
                log.exception("daemon.thread_died", thread=name)
                self._broken = error

        # A statement that hangs must not keep the process: nothing is lost with it.
        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _take_or_leave(self, *, held: bool) -> None:
        """Captures where the lease is held, and else stands by; another may have captured since."""
        if held and not self._capturing.running:
            log.info("capture.taken")
            self._capturing.begin()
        elif self._capturing.running and not held:
            log.warning("capture.lost")
            self._threads += self._capturing.end()

    def _tell_stopping(self) -> None:
        # Where a request may take longer than TimeoutStopSec=, it is waited for all the same.
        micros = int((self._longest_stop() + 5) * 1e6)
        notify(STOPPING="1", STATUS="stopping", EXTEND_TIMEOUT_USEC=str(micros))

    def _longest_stop(self) -> float:
        return self._sync.config.customergauge.timeout.total_seconds() + 10

    def _end(self) -> None:
        self._threads += self._capturing.end()
        self._sync.delivery.wake()
        until = time.monotonic() + self._longest_stop()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        try:
            with self._sync.state.begin() as tx:
                control.remove(tx, Presence, self._name)
                if self._sync.lease.held:
                    control.remove(tx, Presence)
        except StateUnavailable as error:
            log.warning("state.unavailable", reason=str(error))
        log.info("daemon.stopped")

    def _beat(self) -> None:
        """Says that we are there, to `status` and to systemd."""
        try:
            # What captured before must have ended: it would write in the name of the new lease.
            self._take_or_leave(held=not self._capturing.ending and self._sync.lease.keep())
            self._tell()
        except StateUnavailable:
            pass  # the loops tell it, and wait for it: `status` misses a beat, systemd none
        interval = watchdog_seconds()
        if interval is not None and not self._hung(interval):
            notify(WATCHDOG="1")

    @property
    def _role(self) -> str:
        return "active" if self._capturing.running else "standby"

    def _health(self) -> Health:
        last, quiet = self._loops.polls.last, time.monotonic() - self._sync.delivery.came_round
        return Health(
            good_poll_at=last.good_at if last else self._since,
            poll_error=last.run.error if last else None,
            delivery_silent_seconds=quiet,
            is_capturing=self._capturing.running,
        )

    def _hung(self, interval: float) -> bool:
        """Whether a loop, or a run of one, has made no progress for too long."""
        seen = [self._sync.delivery.came_round]
        if self._capturing.running:
            seen.append(self._loops.polls.last_progress)
            if (reconciles := self._loops.reconciles.last_progress()) is not None:
                seen.append(reconciles)
        return time.monotonic() - min(seen) > max(HUNG_AFTER_SECONDS, interval)

    def _tell(self) -> None:
        last = self._loops.polls.last
        told = _Told(self._role)
        if self._capturing.running:
            poll = last.report() if last else None
            told = _Told(self._role, poll, horizon_report(self._sync.capture))
        age = time.monotonic() - self._told_at
        if told == self._told and age < PRESENCE_SECONDS:
            return
        is_news = last is None or last.run.changed or self._told.horizon is None
        if age < 2 * BEAT_SECONDS and not is_news:
            return
        self._told, self._told_at = told, time.monotonic()
        with self._sync.state.begin() as tx:
            presence = self._presence()
            control.save(tx, presence, self._name)
            if self._capturing.running:
                for report in (told.poll, told.horizon):
                    if report is not None:  # until then that of the one before still holds
                        control.save(tx, report)
                control.save(tx, presence)
                control.remove_presences(tx, self._sync.capture.now() - FORGOTTEN_AFTER)
        notify(STATUS=self._status_line())

    def _presence(self) -> Presence:
        return Presence(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=self._since,
            beat_at=self._sync.capture.now(),
            role=self._role,
            token_expires=self._sync.delivery.token_expires(),
        )

    def _status_line(self) -> str:
        counted = self._page_context.snapshots.taken()["contracts"]  # the page is glad of it, too
        counts = {Status(name): count for name, count in counted.items()}
        last, lag, now = self._loops.polls.last, self._loops.polls.lag(), self._sync.capture.now()
        is_refused = self._reload is not None and self._reload.refused
        troubles = (
            self._sync.delivery.stopped_by(),
            REFUSED if is_refused else None,
            last.run.error if last else None,
        )
        polls = polls_of(last, lag, now) if self._capturing.running else ["another daemon polls"]
        return status_line(counts, polls, troubles)


class Page:
    """The page at `web.listen`, inside a `with`; `beat` tries again while its port is taken."""

    def __init__(self, context: PageContext, told: Callable[[str], None]) -> None:
        self._page_context = context
        self._told = told
        self._served = ExitStack()
        self._due: float | None = 0.0
        self._failed = False

    def __enter__(self) -> Self:
        self.beat()
        return self

    def __exit__(self, *_error: object) -> None:
        self._served.close()

    def beat(self) -> None:
        """Serves it, if that is due: once, and again every few seconds until it succeeds."""
        listen = self._page_context.config.web.listen
        if listen is None or self._due is None or time.monotonic() < self._due:
            return
        host, _, port = listen.rpartition(":")
        serve = serving(status_app(self._page_context), host.strip("[]"), int(port))
        try:
            url = self._served.enter_context(serve)
        except CdcSyncError as error:
            self._due = time.monotonic() + AGAIN_AFTER_SECONDS
            if not self._failed:
                log.warning("page.unavailable", reason=error.message, mend="See `web.listen`.")
            self._failed = True
        else:
            self._due = None
            log.info("page.served", url=url)
            self._told(url)
