"""Sandbox, changing source and daemon together on this machine, with a live view and a summary."""

import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdc_sync.config.load import load_config
from cdc_sync.config.model import Config
from cdc_sync.daemon.daemon import Daemon
from cdc_sync.demo.source import Change, create_source, keep_changing
from cdc_sync.demo.view import View, summarise
from cdc_sync.errors import UserMistake
from cdc_sync.log import RecentLog, configure_log
from cdc_sync.operations.runs import run_here
from cdc_sync.sandbox.app import sandbox_app
from cdc_sync.sandbox.faults import Faults, parse_fault
from cdc_sync.sandbox.ledger import Ledger
from cdc_sync.sync import Sync, open_sync, redaction_of
from cdc_sync.web.server import serving

REFRESH_SECONDS = 0.5
PAGE_WITHIN_SECONDS = 5.0
CONTRACTS = 500
CHANGES_PER_SECOND = 8.0
_CONFIG = """\
source:
  url: sqlite:///contracts.db
  table: contracts
  id: id
  watermark: updated_at
  deleted_when: deleted_at IS NOT NULL
  lookback: 5s
mapping:
  reference: "demo-{{id}}"
  account: account_name
  start: start_date
  end: end_date
  description: "{{plan}}"
customergauge:
  base_url: {url}
  token_url: {url}/oauth2/token
  client_id: sandbox
  client_secret: sandbox
  rate_limit: 200/s
state:
  url: sqlite:///state.db
schedule:
  poll: 1s
web:
  listen: 127.0.0.1:0
  token: "{token}"
"""


def run_demo(seconds: float | None, stop: threading.Event) -> bool:
    """Runs until `stop` or for `seconds`; returns whether both sides agree at the end."""
    with demo_parts() as parts:
        redact, recent = redaction_of(parts.config), RecentLog()
        configure_log("error", "console", redact, recent)
        with open_sync(parts.config, redact) as sync:
            _run_daemon(parts, sync, recent, seconds, stop)
            # The changes have ended: what is still on its way arrives, and then all is compared.
            run_here(sync, "reconcile", threading.Event(), None, lambda: None)
            summary = summarise(parts.source, parts.ledger, sync.state)
    print(summary.text)
    return summary.differences == 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the demo runs besides the daemon; `token` is that of its page."""

    url: str
    token: str
    ledger: Ledger
    source: Path
    config: Config


def _run_daemon(
    parts: Parts, sync: Sync, recent: RecentLog, seconds: float | None, stop: threading.Event
) -> None:
    """Runs the daemon beside a changing source. Raises what ended the daemon."""
    view, ready, ended = View(sync.state, parts.ledger), threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def page_served(url: str) -> None:
        print(f"  sandbox  {parts.url}     page  {url}     Ctrl-C ends it")
        print(f"  the page shows without log-in, and acts with the token {parts.token}", flush=True)
        ready.set()

    def run() -> None:
        try:
            Daemon(sync, recent, sandbox_url=parts.url, page_served=page_served).run(ended)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            errors.append(error)
            stop.set()
            ready.set()

    daemon = threading.Thread(target=run, name="daemon")
    until = None if seconds is None else time.monotonic() + seconds
    daemon.start()
    try:
        ready.wait(PAGE_WITHIN_SECONDS)
        with changing(parts.source, view.add_change):
            _show(view, stop, until)
    finally:
        ended.set()
        daemon.join()
    if errors:
        raise errors[0]


def _show(view: View, stop: threading.Event, until: float | None) -> None:
    def goes_on() -> bool:
        return not stop.wait(REFRESH_SECONDS) and (until is None or time.monotonic() < until)

    if not sys.stdout.isatty():
        while goes_on():
            pass
        print(view.text(), flush=True)
        return
    from rich.live import Live  # noqa: PLC0415  # only where there is a terminal
    from rich.text import Text  # noqa: PLC0415

    with Live(Text(view.text()), auto_refresh=False) as live:
        while goes_on():
            live.update(Text(view.text()), refresh=True)


@contextmanager
def demo_parts() -> Iterator[Parts]:
    """Starts the sandbox and makes the source, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="cdc-sync-demo-") as name:
        folder, ledger, token = Path(name), Ledger(), secrets.token_hex(4)
        source = folder / "contracts.db"
        create_source(source, CONTRACTS)
        with serving(sandbox_app(ledger), "127.0.0.1", 0) as url:
            file = folder / "config.yaml"
            file.write_text(_CONFIG.format(url=url, token=token))
            yield Parts(url, token, ledger, source, load_config(file, {}))


@contextmanager
def changing(source: Path, on_change: Callable[[Change], None] | None = None) -> Iterator[None]:
    """Keeps changing the source while inside."""
    stop = threading.Event()
    thread = threading.Thread(
        target=keep_changing,
        args=(source, stop, CHANGES_PER_SECOND),
        kwargs={"on_change": on_change},
        name="changes",
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def run_sandbox(  # one argument an option
    listen: str,
    source: Path | None,
    faults: list[str],
    stop: threading.Event,
    *,
    strict_accounts: bool,
    token_seconds: float,
) -> None:
    """Serves until `stop`. Raises UserMistake for an address or a fault that cannot be read."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UserMistake(f"{listen!r} is not host:port, as in 127.0.0.1:8080.")
    app = sandbox_app(
        Ledger(),
        Faults([parse_fault(fault) for fault in faults]),
        strict_accounts=strict_accounts,
        token_seconds=token_seconds,
    )
    with ExitStack() as open_parts:
        if source is not None:
            create_source(source)
            open_parts.enter_context(changing(source))
        url = open_parts.enter_context(serving(app, host, int(port)))
        print(
            f"sandbox  {url}     token {url}/oauth2/token     Ctrl-C ends it\n"
            "         client_id and client_secret: sandbox",
            flush=True,
        )
        if source is not None:
            print(f"source   {source}, which keeps changing", flush=True)
        stop.wait()
