"""The typer application, and the one place where errors become exit codes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc_sync import __version__
from cdc_sync.cli import admin, contracts, init, operate, plan, references, run, status, watermark
from cdc_sync.cli.context import Given
from cdc_sync.errors import CdcSyncError

app = typer.Typer(
    name="cdc-sync",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
TRY, SYNC, LOOK, ACT, SET_UP = (
    "Try it",
    "Sync",
    "Look",
    "Act",
    "Set up",
)


def _version(value: bool) -> None:  # noqa: FBT001  # typer calls it so
    if value:
        print(f"cdc-sync {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="config.yaml; else $CDC_SYNC_CONFIG, ./config.yaml, /etc/cdc-sync/config.yaml.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001  # acts by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Keep the contracts in CustomerGauge in sync with your own SQL database."""
    context.obj = Given(config)


def main() -> None:
    """The console script: exit code 0 fine, 1 something is wrong, 2 the user's mistake."""
    register(app)
    try:
        app()
    except CdcSyncError as error:
        print(f"cdc-sync: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def register(app: typer.Typer) -> None:
    """Puts the commands on the application."""
    for panel, functions in (
        (TRY, (admin.demo, admin.sandbox)),
        (SYNC, (init.init, admin.check, plan.plan, run.once, run.run, run.reconcile)),
        (LOOK, (status.status,)),
        (ACT, (operate.retry, operate.approve, operate.discard, operate.pause, operate.resume)),
    ):
        for function in functions:
            app.command(rich_help_panel=panel)(function)
    app.add_typer(contracts.app, rich_help_panel=LOOK)
    app.add_typer(watermark.app, rich_help_panel=ACT)
    app.add_typer(references.app, rich_help_panel=ACT)
    app.add_typer(admin.alerts_app, rich_help_panel=SET_UP)
    app.add_typer(admin.config_app, rich_help_panel=SET_UP)
    app.add_typer(admin.db_app, rich_help_panel=SET_UP)
    app.add_typer(admin.service_app, rich_help_panel=SET_UP)
