"""`once`, `run` and `reconcile`."""

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_sync.cli.context import configure_quiet_log, open_state, read_config
from cdc_sync.cli.output import Json, emit
from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.errors import (
    CdcSyncError,
    ConfigMistake,
    InstanceRunning,
    SourceMistake,
    SourceUnavailable,
    UserMistake,
)
from cdc_sync.operations.status import read_status
from cdc_sync.state import control, outbox
from cdc_sync.state.database import Database
from cdc_sync.state.values import Presence, Request

if TYPE_CHECKING:
    from cdc_sync.sync import Sync

Limit = Annotated[int | None, typer.Option(min=1, help="Send at most this many, for a first look.")]
BUSY_SECONDS = 20.0  # for so long another command is waited for
SILENT_SECONDS = 20.0  # for so long a daemon that does not beat is waited for
REFRESH_SECONDS = 0.2


def once(context: typer.Context, limit: Limit = None, as_json: Json = False) -> None:
    """Poll once, then deliver until nothing is due."""
    sync_now(context, "once", limit, as_json=as_json)


def reconcile(context: typer.Context, as_json: Json = False) -> None:
    """Compare the whole source with the whole state now, then deliver."""
    sync_now(context, "reconcile", as_json=as_json)


def run(context: typer.Context) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP makes it read its configuration again."""
    from cdc_sync.daemon.daemon import Daemon
    from cdc_sync.daemon.reload import Reload
    from cdc_sync.log import RecentLog, configure_log
    from cdc_sync.sync import open_sync, redaction_of

    try:
        config = read_config(context)
    except ConfigMistake as error:
        _save_failed_start(context, error)
        raise
    redact = redaction_of(config)
    recent = RecentLog()

    def start_log(config: Config) -> None:
        chosen = config.log
        output = sys.stdout if chosen.output == "stdout" else sys.stderr
        configure_log(chosen.level, chosen.format, redact, recent, output)

    start_log(config)
    reload = Reload(lambda: read_config(context), start_log)
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload.request())
    with open_sync(config, redact, _token_folder(), standby=True) as sync:
        Daemon(sync, recent, reload=reload).run(stop_on_signal())


def _save_failed_start(context: typer.Context, error: CdcSyncError) -> None:
    """Has `status` show why no daemon runs, where the state can be opened without the secrets."""
    now = utc_now()
    with suppress(CdcSyncError), open_state(context) as state:
        if not _daemon_runs(state):
            ended = Presence(
                os.getpid(), socket.gethostname(), now, now, "standby", None, str(error), now
            )
            with state.begin() as tx:
                control.save(tx, ended)


def stop_on_signal() -> threading.Event:
    """Returns an event that SIGTERM and SIGINT set; a second signal ends the process at once.

    Nothing is lost by that.
    """
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def sync_now(context: typer.Context, kind: str, limit: int | None = None, *, as_json: bool) -> None:
    """Runs it here or in the daemon that runs; exit 1 where anything is left undelivered."""
    from cdc_sync.operations import runs
    from cdc_sync.sync import open_sync, redaction_of

    config = read_config(context)
    configure_quiet_log(config, "debug" if config.log.level == "debug" else "error")

    def run_here() -> dict[str, Any]:
        redact = redaction_of(config)
        with (
            open_sync(config, redact, _token_folder()) as sync,
            _progress(sync, limit) as progress,
        ):
            try:
                return runs.run_here(sync, kind, stop_on_signal(), limit, progress)
            except (SourceUnavailable, SourceMistake) as error:
                if as_json:
                    failed = runs.report_failure(sync, kind, error)
                    emit(runs.public_part(failed), "", as_json=True)
                raise

    until, report = time.monotonic() + BUSY_SECONDS, None
    while report is None:
        try:
            report = run_here()
        except InstanceRunning:  # by the daemon, or here once another command has ended
            report = _run_in_daemon(context, kind, limit)
            if report is None:
                _wait_for_other(until)
    ok = runs.is_complete(report, limit)
    emit(runs.public_part(report), runs.describe_report(report, limit), as_json=as_json, ok=ok)


def _wait_for_other(until: float) -> None:
    if time.monotonic() > until:
        raise CdcSyncError(
            "Another cdc-sync is at work on this state.", hint="Wait for its end, or stop it."
        )
    time.sleep(0.2)


def _run_in_daemon(context: typer.Context, kind: str, limit: int | None) -> dict[str, Any] | None:
    with open_state(context) as state:
        if not _daemon_runs(state):
            return None
        if limit is not None:
            raise UserMistake(
                "A daemon is running, which sends everything.",
                hint="Stop it, or leave --limit out.",
            )
        return ask_daemon(state, kind)


def ask_daemon(state: Database, kind: str) -> dict[str, Any]:
    """Returns the report of a run that the daemon makes. Raises CdcSyncError where it ends."""
    name = uuid.uuid4().hex
    with state.begin() as tx:
        control.ask(tx, name, kind, utc_now())
    try:
        return _await_report(state, name)
    finally:
        with state.begin() as tx:
            control.remove(tx, Request, name)


def _await_report(state: Database, name: str) -> dict[str, Any]:
    silent_since = time.monotonic()
    while time.monotonic() - silent_since < SILENT_SECONDS:
        if _daemon_runs(state):
            silent_since = time.monotonic()
        with state.read() as tx:
            request = control.load(tx, Request, name)
        if request is None:
            break  # a daemon that was started since removes the requests to the one before
        if request.report is not None:
            return request.report
        time.sleep(0.1)
    raise CdcSyncError(
        "Another cdc-sync is at work on this state and does not take requests.",
        hint="Wait for its end, or stop it.",
    )


def _daemon_runs(state: Database) -> bool:
    return bool(read_status(state, utc_now())["daemon"]["running"])


def _token_folder() -> Path | None:
    folder = os.environ.get("STATE_DIRECTORY")
    return Path(folder.split(":")[0]) if folder else None


@contextmanager
def _progress(sync: "Sync", limit: int | None) -> Iterator[Callable[[], None]]:
    """Yields what says first how long delivery will take, and then redraws the bar."""
    from cdc_sync.operations.runs import describe_sending

    is_told = False

    def tell() -> None:
        with sync.state.read() as tx:
            left = outbox.count_left(tx, utc_now())
        puts = left if limit is None else min(left, limit)
        if length := describe_sending(puts, sync.config.customergauge.rate_limit):
            print(f"{length}.", file=sys.stderr)

    with _progress_bar(sync.state) as redraw:

        def progress() -> None:
            nonlocal is_told
            if not is_told:
                is_told = True
                tell()
            redraw()

        yield progress


@contextmanager
def _progress_bar(state: Database) -> Iterator[Callable[[], None]]:
    """Yields what redraws the bar, to be called often while contracts are delivered."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    counts, rate = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
    columns = (counts, BarColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")
        began, total, drawn_at = time.monotonic(), 0, 0.0

        def redraw() -> None:
            nonlocal began, total, drawn_at
            now = time.monotonic()
            if now - drawn_at < REFRESH_SECONDS:
                return
            drawn_at = now
            with state.read() as tx:
                left = outbox.count_left(tx, utc_now())
            if not total:
                began = now
            total = max(total, left)
            done = total - left
            rate = f"{done / (now - began):,.0f}/s" if done else ""
            words = f"{done:,} of {total:,}"
            bar.update(task, description=words, total=total, completed=done, rate=rate)

        yield redraw
