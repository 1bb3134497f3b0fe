"""The typer application, and the one place where errors become exit codes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc_sync import __version__
from cdc_sync.cli import admin, contracts, init, operate, plan, references, run, status, watermark
from cdc_sync.errors import CdcSyncError

app = typer.Typer(
    name="cdc-sync",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: The commands and groups of commands, by the heading under which `--help` lists them.
_COMMANDS = (
    ("Try it", (admin.demo, admin.sandbox)),
    ("Sync", (init.init, plan.check, plan.plan, run.once, run.run, run.reconcile)),
    ("Look", (status.status, contracts.app)),
    ("Act", (operate.retry, operate.approve, operate.discard, operate.pause, operate.resume)),
    ("Act", (watermark.app, references.app)),
    ("Set up", (admin.alerts_app, admin.config_app, admin.db_app, admin.service_app)),
)


def _print_version(value: bool) -> None:  # noqa: FBT001  # typer calls it so
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
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Keep the contracts in CustomerGauge in sync with your own SQL database."""
    context.obj = config


def main() -> None:
    """Runs a command: exit code 0 fine, 1 something is wrong, 2 the user's mistake."""
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
    """Adds every command to the application."""
    for heading, commands in _COMMANDS:
        for command in commands:
            if isinstance(command, typer.Typer):
                app.add_typer(command, rich_help_panel=heading)
            else:
                app.command(rich_help_panel=heading)(command)
