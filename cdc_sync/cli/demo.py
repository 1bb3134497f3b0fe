"""`demo` and `sandbox`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End by itself after so long, with a summary.")
    ] = None,
) -> None:
    """Run the whole system on this machine: sandbox API, changing contracts, daemon."""
    from cdc_sync.cli.run import until_signal
    from cdc_sync.demo.demo import run_demo

    if not run_demo(seconds, until_signal()):
        raise typer.Exit(1)


def sandbox(  # one argument an option
    listen: Annotated[str, typer.Option(help="host:port to serve on.")] = "127.0.0.1:8080",
    source: Annotated[
        Path | None, typer.Option(help="Also keep a SQLite source here that keeps changing.")
    ] = None,
    strict_accounts: Annotated[
        bool, typer.Option("--strict-accounts", help="Refuse accounts that were never PUT.")
    ] = False,
    token_seconds: Annotated[float, typer.Option(help="How long a token is good.")] = 3600,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Something that goes wrong, as often as you like: latency=200ms,"
            " 'status=500 share=10%', rate=20/s (429), expiry, reset, lost, late=20s, hang."
        ),
    ] = None,
) -> None:
    """Serve the stand-in for CustomerGauge, until Ctrl-C."""
    from cdc_sync.cli.run import until_signal
    from cdc_sync.demo.stand_in import run_sandbox

    run_sandbox(
        listen,
        source,
        fault or [],
        until_signal(),
        strict_accounts=strict_accounts,
        token_seconds=token_seconds,
    )
