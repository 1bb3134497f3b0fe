"""`once`, `run` and `reconcile`."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from cdc_sync.cli.context import config_of
from cdc_sync.cli.output import Json, emit

if TYPE_CHECKING:
    from cdc_sync.report import Progress
    from cdc_sync.sync import Sync

    Work: TypeAlias = Callable[[Sync, threading.Event, int | None, Progress], dict[str, Any]]

Limit = Annotated[int | None, typer.Option(min=1, help="Send at most so many, for a first look.")]


def once(context: typer.Context, limit: Limit = None, as_json: Json = False) -> None:
    """Poll once, then deliver until nothing is due."""
    from cdc_sync.report import once as sync_once

    work(context, "once", limit, sync_once, as_json=as_json)


def reconcile(context: typer.Context, as_json: Json = False) -> None:
    """Compare the whole source with the whole state now, then deliver."""
    from cdc_sync.report import reconcile_now

    work(context, "reconcile", None, reconcile_now, as_json=as_json)


def run(context: typer.Context) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP makes it read its configuration again."""
    from cdc_sync.daemon.daemon import Daemon
    from cdc_sync.daemon.reload import Reload
    from cdc_sync.log import configure_log
    from cdc_sync.recent import RecentLog
    from cdc_sync.sync import open_sync, redaction_of

    config = config_of(context)
    redact = redaction_of(config)
    recent = RecentLog()
    configure_log(config.log.level, config.log.format, redact, recent)
    reload = Reload(
        lambda: config_of(context),
        lambda new: configure_log(new.log.level, new.log.format, redact, recent),
    )
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload.ask())
    with open_sync(config, redact, _token_folder(), standby=True) as sync:
        Daemon(sync, recent, reload=reload).run(until_signal())


def until_signal() -> threading.Event:
    """Set by SIGTERM or SIGINT; a second one ends the process at once: nothing is lost by it."""
    stop = threading.Event()

    def told(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    return stop


def work(  # what the commands differ in
    context: typer.Context,
    kind: str,
    limit: int | None,
    do: "Work",
    *,
    as_json: bool,
) -> None:
    """Does it here, or has the running daemon do it; exit 1 where anything is left undelivered."""
    from cdc_sync.cli.progress import delivering
    from cdc_sync.errors import InstanceRunning
    from cdc_sync.log import configure_log
    from cdc_sync.report import is_well, public, words
    from cdc_sync.sync import open_sync, redaction_of

    config = config_of(context)
    redact = redaction_of(config)
    # The report says it all; a log is for who asks for one.
    level = "debug" if config.log.level == "debug" else "error"
    configure_log(level, "auto", redact)
    try:
        with (
            open_sync(config, redact, _token_folder()) as sync,
            delivering(sync.state) as progress,
        ):
            report = do(sync, until_signal(), limit, progress)
    except InstanceRunning:
        report = _by_daemon(context, kind, limit)
    emit(public(report), words(report, limit), as_json=as_json)
    if not is_well(report, limit):
        raise typer.Exit(1)


def _by_daemon(context: typer.Context, kind: str, limit: int | None) -> dict[str, Any]:
    from cdc_sync.cli.context import state_of
    from cdc_sync.cli.request import ask_daemon
    from cdc_sync.errors import UserMistake

    if limit is not None:
        raise UserMistake(
            "A daemon is running, which sends everything.", mend="Stop it, or leave --limit out."
        )
    with state_of(context) as state:
        return ask_daemon(state, kind)


def _token_folder() -> Path | None:
    folder = os.environ.get("STATE_DIRECTORY")
    return Path(folder.split(":")[0]) if folder else None
