"""The process that stays: starts and stops its threads, and says that it is there.

    thread     what it owns                              woken by             ends by
    main       lease, presence, systemd, reload          each second          SIGTERM
    delivery   claims, outcomes, gate, pace              capture, web, http   stop
    http       the connections to CustomerGauge          delivery             delivery's end
    token      one request for a token                   delivery starts it   its answer
    alerts     what people were alerted to               its interval         stop
    web        the page, and who looks at it             requests             main closes it
    query      one query of the source for the page      web starts it        its answer

    and while this daemon holds the lease:
    capture    polls                                     scheduler, listener  stop
    reconcile  reconciles                                scheduler            stop
    sweep      sweeps                                    each 5 seconds       stop
    requests   runs that commands ask for                twice a second       stop
    answer     the report of such a run                  requests starts it   delivery rests
    listener   the LISTEN of `source.notify_channel`     NOTIFY               stop
    scheduler  when polls, reconciles, pruning are due   the clock            shutdown

Main joins those that end by a stop; an error in one of them ends the daemon, and systemd starts it
again.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, Self

import structlog

from cdc_sync.alerts.notifier import Notifier
from cdc_sync.capture.loop import Loops, horizon_report
from cdc_sync.config.model import Config
from cdc_sync.daemon.capturing import Capturing
from cdc_sync.daemon.reload import Reload
from cdc_sync.daemon.systemd import describe_polls, format_status_line, notify, watchdog_seconds
from cdc_sync.errors import CdcSyncError, StateUnavailable
from cdc_sync.log import RecentLog
from cdc_sync.source.dialects.base import STATEMENT_TIMEOUT_SECONDS
from cdc_sync.state import control
from cdc_sync.state.lease import owner_id, pid_place
from cdc_sync.state.values import HorizonReport, PollReport, Presence
from cdc_sync.sync import Sync, redaction_of
from cdc_sync.web.app import status_app
from cdc_sync.web.context import Health, PageContext
from cdc_sync.web.server import serving

log = structlog.get_logger()
BEAT_SECONDS = 1.0
PRESENCE_SECONDS = 4.0  # the longest silence of the presence row while nothing happens
PRESENCE_REMOVED_AFTER = timedelta(minutes=10)
RELOAD_REFUSED = "The changed configuration is wrong, and the old one in force: see the log"
HUNG_AFTER_SECONDS = STATEMENT_TIMEOUT_SECONDS + 120.0  # one page of the source may take so long
RETRY_PAGE_SECONDS = 10.0
CANCEL_AFTER_SECONDS = 2.0  # a statement of the source that takes longer does not delay the end
STOP_SECONDS = 10.0  # that a stop may take beyond the longest request
ERROR_SHOWN = 300  # characters


class _Reported(NamedTuple):
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
        self._loops = Loops(sync.capture, sync.delivery.wake)
        self._capturing = Capturing(sync, self._loops, self._start)
        self._redact = redact = redaction_of(sync.config)
        self._alerts = Notifier(
            sync.config, sync.state, redact, sync.capture.now, lambda: self._capturing.running
        )
        self._threads: list[threading.Thread] = []
        self._broken: BaseException | None = None
        self._reported = _Reported()
        self._reported_at = 0.0
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
        self._page = PageServer(self._page_context, page_served)

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`; then ends within one request's time, with nothing lost.

        Raises what ended a thread that should not end, so that systemd starts us anew.
        """
        self._threads = [
            self._start("delivery", self._sync.delivery.run, self._stop),
            self._start("alerts", self._alerts.run, self._stop),
        ]
        notify(READY="1", STATUS="running")
        log.info("daemon.started", pid=os.getpid(), state=self._sync.state.name)
        try:
            self._beat()  # the page shows the daemon from its first request on
            with self._page:
                while not stop.wait(BEAT_SECONDS) and self._broken is None:
                    self._beat()
                    self._page.beat()
                    if self._reload is not None:
                        self._reload.apply_if_requested(self._sync.config, self._apply_config)
        finally:
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
        def run() -> None:
            try:
                work(stop)
            except BaseException as error:  # a thread's end is the daemon's
                log.exception("daemon.thread_died", thread=name)
                self._broken = error

        # A statement that hangs must not keep the process: nothing is lost with it.
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def _follow_lease(self, *, held: bool) -> None:
        """Begins to capture when the lease is taken, and ends when it is lost."""
        if held and not self._capturing.running:
            log.info("capture.taken")
            self._capturing.begin()
        elif self._capturing.running and not held:
            log.warning("capture.lost")
            self._threads += self._capturing.end()

    def _end(self) -> None:
        # Where a request may take longer than TimeoutStopSec=, it is waited for all the same.
        longest = self._sync.config.customergauge.timeout.total_seconds() + STOP_SECONDS
        extended = str(int((longest + 5) * 1e6))
        notify(STOPPING="1", STATUS="stopping", EXTEND_TIMEOUT_USEC=extended)
        self._stop.set()
        capturing = self._capturing.end()
        self._sync.delivery.wake()
        _join(capturing, CANCEL_AFTER_SECONDS)
        if any(thread.is_alive() for thread in capturing):
            self._sync.capture.source.cancel()  # as one that waits for a lock on its table
        _join([*capturing, *self._threads], longest)
        try:
            with self._sync.state.begin() as tx:
                control.remove(tx, Presence, self._name)
                if self._sync.lease.held or self._broken is not None:  # until the next one begins
                    control.save(tx, self._last_presence())
        except StateUnavailable as error:
            log.warning("state.unavailable", reason=str(error))
        log.info("daemon.stopped")

    def _beat(self) -> None:
        """Follows the lease, and tells `status` and systemd that the daemon is there."""
        try:
            # What captured before must have ended: it would write under the new lease.
            self._follow_lease(held=not self._capturing.ending and self._sync.lease.keep())
            self._capturing.follow_clock()
            self._report()
        except StateUnavailable:
            pass  # the loops log it and wait for it; the watchdog is to hear of hangs alone
        interval = watchdog_seconds()
        if interval is not None and not self._is_hung(interval):
            notify(WATCHDOG="1")

    def _describe(self, error: BaseException) -> str:
        words = str(error) if isinstance(error, CdcSyncError) else repr(error)
        return self._redact(words)[:ERROR_SHOWN]

    @property
    def _role(self) -> str:
        return "active" if self._capturing.running else "standby"

    def _health(self) -> Health:
        last, quiet = self._loops.polls.last, time.monotonic() - self._sync.delivery.last_progress
        return Health(
            good_poll_at=max(last.good_at, self._since) if last else self._since,
            poll_error=last.run.error if last else None,
            delivery_silent_seconds=quiet,
            is_capturing=self._capturing.running,
        )

    def _is_hung(self, interval: float) -> bool:
        """Whether a loop, or a run of one, has made no progress for too long."""
        seen = [self._sync.delivery.last_progress]
        if self._capturing.running:
            seen.append(self._loops.polls.last_progress)
            if (reconciles := self._loops.reconciles.last_progress()) is not None:
                seen.append(reconciles)
            if (sweeps := self._loops.sweeps.last_progress) is not None:
                seen.append(sweeps)
        return time.monotonic() - min(seen) > max(HUNG_AFTER_SECONDS, interval)

    def _report(self) -> None:
        last = self._loops.polls.last
        reported = _Reported(self._role)
        if self._capturing.running:
            poll = last.report() if last else None
            reported = _Reported(self._role, poll, horizon_report(self._sync.capture))
        age = time.monotonic() - self._reported_at
        if reported == self._reported and age < PRESENCE_SECONDS:
            return
        is_news = last is None or last.run.changed or self._reported.horizon is None
        if age < 2 * BEAT_SECONDS and not is_news:
            return
        self._reported, self._reported_at = reported, time.monotonic()
        with self._sync.state.begin() as tx:
            presence = self._presence()
            control.save(tx, presence, self._name)
            if self._capturing.running:
                for report in (reported.poll, reported.horizon):
                    if report is not None:  # until then the report of the daemon before is right
                        control.save(tx, report)
                control.save(tx, presence)
                control.remove_presences(tx, self._sync.capture.now() - PRESENCE_REMOVED_AFTER)
        notify(STATUS=self._status_line())

    def _presence(self) -> Presence:
        return Presence(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=self._since,
            beat_at=self._sync.capture.now(),
            role=self._role,
            token_expires=self._sync.delivery.token_expires(),
            place=pid_place(),
        )

    def _last_presence(self) -> Presence:
        error = None if self._broken is None else self._describe(self._broken)
        return replace(self._presence(), ended_at=self._sync.capture.now(), error=error)

    def _status_line(self) -> str:
        counts = self._page_context.snapshots.refresh()["contracts"]  # the page shares it
        last, lag, now = self._loops.polls.last, self._loops.polls.lag(), self._sync.capture.now()
        is_refused = self._reload is not None and self._reload.refused
        troubles = (
            self._sync.delivery.stopped_by(),
            RELOAD_REFUSED if is_refused else None,
            last.run.error if last else None,
        )
        is_active = self._capturing.running
        polls = describe_polls(last, lag, now) if is_active else ["another daemon polls"]
        return format_status_line(counts, polls, troubles)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


class PageServer:
    """The page at `web.listen`, inside a `with`; `beat` tries again while its port is taken."""

    def __init__(self, context: PageContext, announce: Callable[[str], None]) -> None:
        self._context = context
        self._announce = announce
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
        listen = self._context.config.web.listen
        if listen is None or self._due is None or time.monotonic() < self._due:
            return
        host, _, port = listen.rpartition(":")
        serve = serving(status_app(self._context), host.strip("[]"), int(port))
        try:
            url = self._served.enter_context(serve)
        except CdcSyncError as error:
            self._due = time.monotonic() + RETRY_PAGE_SECONDS
            if not self._failed:
                log.warning("page.unavailable", reason=error.message, mend="See `web.listen`.")
            self._failed = True
        else:
            self._due = None
            log.info("page.served", url=url)
            self._announce(url)
