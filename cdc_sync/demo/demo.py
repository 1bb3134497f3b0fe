"""Sandbox, changing source and daemon together on this machine, with a live view and a summary."""

import sys
import threading
import time
from collections.abc import Callable

from cdc_sync.clock import utc_now
from cdc_sync.contract import Status
from cdc_sync.daemon.daemon import Daemon
from cdc_sync.demo.parts import Parts, changing, demo_parts
from cdc_sync.demo.view import Events, summarise
from cdc_sync.log import RecentLog, configure_log
from cdc_sync.report import reconcile_now
from cdc_sync.status import read_status
from cdc_sync.sync import Sync, open_sync, redaction_of

REFRESH_SECONDS = 0.5
PAGE_WITHIN_SECONDS = 5.0


def run_demo(seconds: float | None, stop: threading.Event) -> bool:
    """Runs until `stop`, or for so long; says whether source and CustomerGauge agree at the end."""
    with demo_parts() as parts:
        redact, recent = redaction_of(parts.config), RecentLog()
        configure_log("error", "console", redact, recent)
        with open_sync(parts.config, redact) as sync:
            _work(parts, sync, recent, seconds, stop)
            # The changes have ended: what is still on its way arrives, and then all is compared.
            reconcile_now(sync, threading.Event(), None, lambda: None)
            summary = summarise(parts.source, parts.ledger, sync.state)
    print(summary.text())
    return summary.differences == 0


def _work(
    parts: Parts, sync: Sync, recent: RecentLog, seconds: float | None, stop: threading.Event
) -> None:
    events, rate, ended = Events(sync.state), _Rate(), threading.Event()
    broken: list[BaseException] = []
    ready = threading.Event()

    def page_served(url: str) -> None:
        print(f"  sandbox  {parts.url}     page  {url}     Ctrl-C ends it")
        print(f"  the page shows without log-in, and acts with the token {parts.token}", flush=True)
        ready.set()

    def run_daemon() -> None:
        try:
            Daemon(sync, recent, sandbox_url=parts.url, page_served=page_served).run(ended)
        except BaseException as error:  # noqa: BLE001  # handed over to the thread that waits
            broken.append(error)
            stop.set()

    daemon = threading.Thread(target=run_daemon, name="daemon")
    until = None if seconds is None else time.monotonic() + seconds
    daemon.start()
    try:
        ready.wait(PAGE_WITHIN_SECONDS)
        with changing(parts.source, lambda change: events.touched(change, utc_now())):
            _watch(lambda: _frame(parts, sync, events, rate), stop, until)
    finally:
        ended.set()
        daemon.join()
    if broken:
        raise broken[0]


def _watch(frame: Callable[[], str], stop: threading.Event, until: float | None) -> None:
    if not sys.stdout.isatty():
        while not stop.wait(REFRESH_SECONDS) and (until is None or time.monotonic() < until):
            pass
        print(frame(), flush=True)
        return
    from rich.live import Live  # noqa: PLC0415  # only where there is a terminal
    from rich.text import Text  # noqa: PLC0415

    with Live(Text(frame()), auto_refresh=False) as live:
        while not stop.wait(REFRESH_SECONDS) and (until is None or time.monotonic() < until):
            live.update(Text(frame()), refresh=True)


class _Rate:
    """PUTs a second, between two looks."""

    def __init__(self) -> None:
        self._puts = 0
        self._at = time.monotonic()

    def of(self, puts: int) -> float:
        now = time.monotonic()
        rate = (puts - self._puts) / max(0.001, now - self._at)
        self._puts, self._at = puts, now
        return rate


def _frame(parts: Parts, sync: Sync, events: Events, rate: _Rate) -> str:
    document = read_status(sync.state, utc_now())
    counts = document["contracts"]
    lag = document["watermark"]["lag_seconds"]
    total = sum(count for name, count in counts.items() if name != Status.GONE)
    head = (
        f"  contracts {total}   synced {counts['synced']}   pending {counts['pending']}"
        f"   rejected {counts['rejected']}   lag {lag if lag is not None else 0:.1f} s"
        f"   {rate.of(parts.ledger.dump()['puts']):.0f} PUT/s"
    )
    return "\n".join([head, *events.look()])
