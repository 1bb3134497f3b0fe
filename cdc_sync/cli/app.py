"""The typer application, and the one place where errors become exit codes."""

import gc
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from cdc_sync import __version__
from cdc_sync.errors import CdcSyncError


class Command(NamedTuple):
    """A command or a group of commands; what `--help` says of it needs no import."""

    name: str
    heading: str
    place: str  #: the module under cdc_sync.cli, and the name in it
    help: str

    def load(self) -> Any:
        """Returns the function, or the typer application of a group."""
        module, _, name = self.place.partition(":")
        gc.disable()  # imports make objects that stay: to look for garbage is a tenth of their time
        try:
            return getattr(import_module(f"cdc_sync.cli.{module}"), name)
        finally:
            gc.enable()


_TRY, _SYNC, _LOOK, _ACT, _SET_UP = "Try it", "Sync", "Look", "Act", "Set up"
COMMANDS = (
    Command(
        "demo",
        _TRY,
        "admin:demo",
        "Run the whole system on this machine: sandbox API, changing contracts, daemon.",
    ),
    Command(
        "sandbox",
        _TRY,
        "admin:sandbox",
        "Serve a stand-in for CustomerGauge, with its documented rules, until Ctrl-C.",
    ),
    Command(
        "init",
        _SYNC,
        "init:init",
        "Write a commented config.yaml from a few questions or from options; then check it.",
    ),
    Command(
        "check",
        _SYNC,
        "plan:check",
        "Check everything that a run needs, and say how to correct it; sends nothing.",
    ),
    Command(
        "plan",
        _SYNC,
        "plan:plan",
        "Show what `once` would do now, field by field; writes and sends nothing.",
    ),
    Command("once", _SYNC, "run:once", "Poll once, then deliver until nothing is due."),
    Command(
        "run",
        _SYNC,
        "run:run",
        "Run the daemon until SIGTERM or Ctrl-C; SIGHUP makes it read its configuration again.",
    ),
    Command(
        "reconcile",
        _SYNC,
        "run:reconcile",
        "Compare the whole source with the whole state now, then deliver.",
    ),
    Command(
        "status",
        _LOOK,
        "status:status",
        "Show whether all is well, and how far the sync is; exit 1 if something is wrong.",
    ),
    Command(
        "contracts", _LOOK, "contracts:app", "Show contracts, send them again, accept rejections."
    ),
    Command(
        "retry", _ACT, "operate:retry", "Make rejected, waiting or backing-off contracts due now."
    ),
    Command("approve", _ACT, "operate:approve", "Send what the guard holds."),
    Command(
        "discard",
        _ACT,
        "operate:discard",
        "Discard what the guard holds: read it again from the source, by id; then deliver.",
    ),
    Command("pause", _ACT, "operate:pause", "Stop delivery; the source is still read."),
    Command("resume", _ACT, "operate:resume", "Start delivery again."),
    Command("watermark", _ACT, "watermark:app", "Show the watermark, and move it."),
    Command("references", _ACT, "references:app", "Import, export and move references."),
    Command("alerts", _SET_UP, "admin:alerts_app", "Report problems to people."),
    Command("config", _SET_UP, "admin:config_app", "Show the configuration."),
    Command("db", _SET_UP, "admin:db_app", "Manage the state database."),
    Command("service", _SET_UP, "admin:service_app", "Run the daemon under systemd."),
)
_BY_NAME = {command.name: command for command in COMMANDS}


class _ImportsWhatRuns(TyperGroup):
    """Imports a command when it is run, so that each starts as fast as its own imports allow."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if (command := _BY_NAME.get(args[0])) is not None:
            self.commands[command.name] = click_command(command)
        return super().resolve_command(ctx, args)


def click_command(command: Command) -> Any:
    """Imports a command, and returns it as click has it."""
    loaded = command.load()
    if isinstance(loaded, typer.Typer):
        return typer.main.get_group(loaded)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(command.name)(loaded)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="cdc-sync",
    cls=_ImportsWhatRuns,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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


def _listed() -> None:
    """Stands in `--help` for a command whose module is not imported yet."""


for _command in COMMANDS:
    app.command(_command.name, help=_command.help, rich_help_panel=_command.heading)(_listed)


def main() -> None:
    """Runs a command: exit code 0 fine, 1 something is wrong, 2 the user's mistake."""
    if os.getpid() == 1:
        _act_as_first_process()
    try:
        app()
    except CdcSyncError as error:
        print(f"cdc-sync: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _act_as_first_process() -> None:
    """Lets SIGTERM end us, and the kernel take away orphans that end, as in a container.

    The first process gets only signals that it handles, and every orphan becomes its child.
    """
    signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
