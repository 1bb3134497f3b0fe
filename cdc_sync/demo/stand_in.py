"""`cdc-sync sandbox`: the stand-in for CustomerGauge, and a changing source beside it."""

import threading
from contextlib import ExitStack
from pathlib import Path

from cdc_sync.demo.parts import changing
from cdc_sync.demo.source import create_source
from cdc_sync.errors import UserMistake
from cdc_sync.sandbox.app import sandbox_app
from cdc_sync.sandbox.fault_text import parse_fault
from cdc_sync.sandbox.faults import Faults
from cdc_sync.sandbox.ledger import Ledger
from cdc_sync.web.server import serving


def run_sandbox(  # what a person can choose
    listen: str,
    source: Path | None,
    faults: list[str],
    stop: threading.Event,
    *,
    strict_accounts: bool,
    token_seconds: float,
) -> None:
    """Serves until `stop`. Raises UserMistake for an address or a fault that is none."""
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
            open_parts.enter_context(changing(source, lambda _change: None))
        url = open_parts.enter_context(serving(app, host, int(port)))
        print(
            f"sandbox  {url}     token {url}/oauth2/token     Ctrl-C ends it\n"
            "         client_id and client_secret: sandbox",
            flush=True,
        )
        if source is not None:
            print(f"source   {source}, which keeps changing", flush=True)
        stop.wait()
