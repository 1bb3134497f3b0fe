"""`once`, `run` and `reconcile`."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_sync.cli.context import config_of
from cdc_sync.cli.output import Json, emit
from cdc_sync.clock import utc_now
from cdc_sync.errors import CdcSyncError
from cdc_sync.operations.status import read_status
from cdc_sync.state import control
from cdc_sync.state.database import Database
from cdc_sync.state.values import Request

Limit = Annotated[int | None, typer.Option(min=1, help="Send at most this many, for a first look.")]
BUSY_SECONDS = 20.0  # for so long another command is waited for
HEARD_WITHIN_SECONDS = 20.0


def once(context: typer.Context, limit: Limit = None, as_json: Json = False) -> None:
    """Poll once, then deliver until nothing is due."""
    work(context, "once", limit, as_json=as_json)


def reconcile(context: typer.Context, as_json: Json = False) -> None:
    """Compare the whole source with the whole state now, then deliver."""
    work(context, "reconcile", as_json=as_json)


def run(context: typer.Context) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP makes it read its configuration again."""
    from cdc_sync.daemon.daemon import Daemon
    from cdc_sync.daemon.reload import Reload
    from cdc_sync.log import RecentLog, configure_log
    from cdc_sync.sync import open_sync, redaction_of

    config = config_of(context)
    redact = redaction_of(config)
    recent = RecentLog()
    configure_log(config.log.level, config.log.format, redact, recent)
    reload = Reload(
        lambda: config_of(context),
        lambda new: configure_log(new.log.level, new.log.format, redact, recent),
    )
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload.request())
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


def work(context: typer.Context, kind: str, limit: int | None = None, *, as_json: bool) -> None:
    """Does it here, or has the running daemon do it; exit 1 where anything is left undelivered."""
    from cdc_sync.cli.output import delivering
    from cdc_sync.errors import SourceMistake, SourceUnavailable
    from cdc_sync.log import configure_log
    from cdc_sync.operations.runs import (
        describe_report,
        is_complete,
        public_part,
        report_failure,
        run_here,
    )
    from cdc_sync.sync import open_sync, redaction_of

    config = config_of(context)
    redact = redaction_of(config)
    # The report says it all; a log is for who asks for one.
    level = "debug" if config.log.level == "debug" else "error"
    configure_log(level, "auto", redact)

    def here() -> dict[str, Any]:
        with (
            open_sync(config, redact, _token_folder()) as sync,
            delivering(sync.state) as progress,
        ):
            try:
                return run_here(sync, kind, until_signal(), limit, progress)
            except (SourceUnavailable, SourceMistake) as error:
                if as_json:
                    emit(public_part(report_failure(sync, kind, error)), "", as_json=True)
                raise

    report = _in_turn(here, lambda: _by_daemon(context, kind, limit))
    emit(public_part(report), describe_report(report, limit), as_json=as_json)
    if not is_complete(report, limit):
        raise typer.Exit(1)


def _in_turn(
    here: Callable[[], dict[str, Any]], by_daemon: Callable[[], dict[str, Any] | None]
) -> dict[str, Any]:
    """Here; or by the daemon that is at work; or here, as soon as another command has ended."""
    from cdc_sync.errors import CdcSyncError, InstanceRunning

    until = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < until:
        try:
            return here()
        except InstanceRunning:
            if (report := by_daemon()) is not None:
                return report
        time.sleep(0.2)
    raise CdcSyncError(
        "Another cdc-sync is at work on this state.", hint="Wait for its end, or stop it."
    )


def _by_daemon(context: typer.Context, kind: str, limit: int | None) -> dict[str, Any] | None:
    from cdc_sync.cli.context import state_of
    from cdc_sync.clock import utc_now
    from cdc_sync.errors import UserMistake
    from cdc_sync.operations.status import read_status

    with state_of(context) as state:
        if not read_status(state, utc_now())["daemon"]["running"]:
            return None
        if limit is not None:
            raise UserMistake(
                "A daemon is running, which sends everything.",
                hint="Stop it, or leave --limit out.",
            )
        return ask_daemon(state, kind)


def _token_folder() -> Path | None:
    folder = os.environ.get("STATE_DIRECTORY")
    return Path(folder.split(":")[0]) if folder else None


def ask_daemon(state: Database, kind: str) -> dict[str, Any]:
    """The daemon's report. Raises CdcSyncError where it ends, or never heard us."""
    name = uuid.uuid4().hex
    with state.begin() as tx:
        control.ask(tx, name, kind, utc_now())
    try:
        return _answered(state, name)
    finally:
        with state.begin() as tx:
            control.remove(tx, Request, name)


def _answered(state: Database, name: str) -> dict[str, Any]:
    silent_since = time.monotonic()
    while time.monotonic() - silent_since < HEARD_WITHIN_SECONDS:
        if read_status(state, utc_now())["daemon"]["running"]:
            silent_since = time.monotonic()
        with state.read() as tx:
            request = control.load(tx, Request, name)
        if request is None:
            break  # a daemon that was started since did not expect us to wait still
        if request.report is not None:
            return request.report
        time.sleep(0.1)
    raise CdcSyncError(
        "Another cdc-sync is at work on this state and does not take requests.",
        hint="Wait for its end, or stop it.",
    )
