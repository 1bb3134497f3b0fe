"""The commands around a sync: db, config, service, alerts, demo and sandbox."""

import json
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import indent
from typing import Annotated

import typer

from cdc_sync.cli.context import (
    command_for,
    configure_quiet_log,
    find_config_file,
    open_state,
    read_config,
    read_config_with_client,
    read_state_url,
)
from cdc_sync.cli.output import DryRun, Json, Yes, confirm, emit, table
from cdc_sync.cli.run import stop_on_signal
from cdc_sync.config.urls import mask_url
from cdc_sync.config.write import as_yaml, config_schema
from cdc_sync.errors import UserMistake
from cdc_sync.setup import host
from cdc_sync.setup import service as systemd
from cdc_sync.setup.host import Host
from cdc_sync.setup.service import Service, Step
from cdc_sync.state import schema as tables
from cdc_sync.state.database import state_file
from cdc_sync.wording import format_count

db_app = typer.Typer(name="db", help="Manage the state database.", no_args_is_help=True)
config_app = typer.Typer(name="config", help="Show the configuration.", no_args_is_help=True)
service_app = typer.Typer(
    name="service", help="Run the daemon under systemd.", no_args_is_help=True
)
alerts_app = typer.Typer(name="alerts", help="Report problems to people.", no_args_is_help=True)
Instance = Annotated[
    str | None, typer.Argument(help="An instance: /etc/cdc-sync/NAME.yaml, cdc-sync@NAME.")
]
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup, a SQLite file.")]
SHOWN_ROWS = 100_000  # between two lines of progress
Root = Annotated[Path, typer.Option(metavar="DIR", help="Act on the system image in DIR.")]


@db_app.command()
def upgrade(context: typer.Context, as_json: Json = False) -> None:
    """Upgrade the tables of the state to this version; a SQLite file is copied first."""
    url = read_config(context, secrets=False).state.url.get_secret_value()
    done = tables.upgrade_state(url)
    text = f"Upgraded from {done['from'] or 'no tables'} to revision {done['current']}."
    if done["from"] == done["current"]:
        text = f"The tables are of revision {done['current']} already, the newest."
    emit(done, text, as_json=as_json)


@db_app.command()
def current(context: typer.Context, as_json: Json = False) -> None:
    """Show the revision of the state's tables, and the newest one."""
    url = read_config(context, secrets=False).state.url.get_secret_value()
    document = tables.read_revisions(url)
    text = f"revision {document['current'] or 'none: no tables yet'}, newest {document['newest']}"
    emit(document, text, as_json=as_json)


@db_app.command()
def adopt(context: typer.Context, yes: Yes = False) -> None:
    """Make the state belong to this configuration's client of the same CustomerGauge."""
    config = read_config_with_client(context).customergauge
    with open_state(context) as state:
        theirs, ours = tables.describe_owners(state, config)
        if theirs == ours:
            print(f"The state {state.name} belongs to {ours} already.")
            return
        print(
            f"The state {state.name} belongs to {theirs or 'nobody yet'}.\n"
            f"The configuration names {ours}."
            " What was acknowledged counts as held there, and is not sent again."
        )
        confirm("Are both the same platform?", yes=yes)
        tables.adopt(state, config)
    print(f"It belongs to {ours} from now on.")


@db_app.command("copy")
def copy_state(
    context: typer.Context,
    to_url: Annotated[
        str,
        typer.Argument(
            metavar="TO_URL",
            help="An empty database, as `state.url` names one; takes ${NAME} and ${file:PATH}.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Copy the state into an empty database, to go on there; no daemon may run."""
    from cdc_sync.operations import copying

    config, target = read_config(context, secrets=False), read_state_url(to_url)
    done = copying.copy_to(config.state.url.get_secret_value(), target, _show_progress)
    text = (
        f"{_describe_copy(done, state_file(target) or mask_url(target))}"
        f"\nNext: give `state.url` in {find_config_file(context)} this URL, then start the daemon."
        " No daemon may run on the old state again."
    )
    emit({"tables": done}, text, as_json=as_json)


@db_app.command()
def backup(
    context: typer.Context,
    file: BackupFile,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the state into a SQLite file, also while the daemon runs."""
    from cdc_sync.operations import copying

    url = read_config(context, secrets=False).state.url.get_secret_value()
    done = copying.back_up(url, file, _show_progress, force=force)
    emit({"tables": done}, _describe_copy(done, file), as_json=as_json)


@db_app.command()
def restore(context: typer.Context, file: BackupFile, as_json: Json = False) -> None:
    """Copy a backup into the empty database of `state.url`; no daemon may run."""
    from cdc_sync.operations import copying

    url = read_config(context, secrets=False).state.url.get_secret_value()
    done = copying.restore(file, url, _show_progress)
    text = (
        f"{_describe_copy(done, state_file(url) or mask_url(url))}\nNext, for what was sent since:"
        f" {command_for(find_config_file(context))} contracts resend --all"
    )
    emit({"tables": done}, text, as_json=as_json)


def _describe_copy(done: dict[str, int], to: Path | str) -> str:
    contracts = format_count(done["contract"], "contract")
    others = format_count(sum(done.values()) - done["contract"], "other row")
    return f"Copied to {to}, and compared: {contracts} and {others}."


def _show_progress(doing: str, rows: int, total: int) -> None:
    if rows % SHOWN_ROWS == 0:
        print(f"  {doing}: {rows:,} of {total:,}", file=sys.stderr, flush=True)


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml, for editors."""
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))


@config_app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the configuration in force, with defaults and variables; secrets are masked."""
    document = read_config(context).model_dump(mode="json")
    emit(document, f"# {find_config_file(context)}\n{as_yaml(document)}", as_json=as_json)


@service_app.command()
def install(name: Instance = None, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Install the user, unit, directories and rights that are not there yet."""
    service, machine = Service(name), Host(root.absolute(), dry_run)
    program = host.this_program()
    if not dry_run:
        _expect_root("install")
        host.expect_runnable(host.parts_of(program))
    _print_steps(systemd.install(service, machine, program, os.environ), dry=dry_run)
    if dry_run:
        host.expect_runnable(host.parts_of(program))
    else:
        is_example = systemd.has_example(service, machine)
        first = f"fill in {service.place.config}; then " if is_example else ""
        verb = "restart" if machine.runs(service.unit) else "enable --now"
        print(f"Next: {first}systemctl {verb} {service.unit}")


@service_app.command()
def uninstall(name: Instance = None, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Stop the service and remove the files that install wrote, unless you edited them."""
    if not dry_run:
        _expect_root("uninstall")
    _print_steps(systemd.uninstall(Service(name), Host(root.absolute(), dry_run)), dry=dry_run)


def _expect_root(command: str) -> None:
    if os.geteuid() != 0:
        raise UserMistake(
            "This writes below /etc and needs root.", hint=f"Run: sudo cdc-sync service {command}"
        )


def _print_steps(steps: Iterable[Step], *, dry: bool) -> None:
    try:
        for step in steps:
            print(f"  {step.name:<8}  {step.message}", flush=True)
            if dry and step.text is not None:
                print(indent(step.text, "            | ", lambda _line: True), end="")
    except BrokenPipeError:
        raise  # `| head` has seen enough
    except OSError as error:
        raise UserMistake(f"{error.filename} cannot be written ({error.strerror}).") from None
    if dry:
        print("Nothing was done (--dry-run).")


@alerts_app.callback()
def _group() -> None:
    """Keeps `test` a word of its own: typer would leave out that of an only command."""


@alerts_app.command("test")
def send_test_alert(context: typer.Context, as_json: Json = False) -> None:
    """Send a test message to each of `alerts.urls`; exit 1 if one could not be sent."""
    from cdc_sync.alerts.notifier import receivers

    config = read_config(context)
    configure_quiet_log(config)
    found = receivers(config)
    if not found:
        raise UserMistake("`alerts.urls` is empty: there is nobody to tell.", hint="Add a URL.")
    body = f"This is a test. Problems will be reported to you like this.\n{socket.gethostname()}"
    errors = {one.name: one.send(None, "cdc-sync: a test", body) for one in found}
    ok = not any(errors.values())
    sent = [{"receiver": name, "ok": why is None, "says": why} for name, why in errors.items()]
    rows = [("FAIL" if why else "ok", name, why or "sent") for name, why in errors.items()]
    emit({"ok": ok, "receivers": sent}, table(rows), as_json=as_json, ok=ok)


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End after this many seconds, with a summary.")
    ] = None,
) -> None:
    """Run the whole system on this machine: sandbox API, changing contracts, daemon."""
    from cdc_sync.demo.demo import run_demo

    if not run_demo(seconds, stop_on_signal()):
        raise typer.Exit(1)


def sandbox(  # one argument an option
    listen: Annotated[str, typer.Option(help="host:port to serve on.")] = "127.0.0.1:8080",
    source: Annotated[
        Path | None,
        typer.Option(help="Also write a SQLite source here whose contracts keep changing."),
    ] = None,
    strict_accounts: Annotated[
        bool,
        typer.Option("--strict-accounts", help="Refuse contracts of accounts that were never PUT."),
    ] = False,
    token_seconds: Annotated[float, typer.Option(help="How long a token is valid.")] = 3600,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="A fault to simulate; may be repeated: latency=200ms,"
            " 'status=500 share=10%', rate=20/s (429), expiry, reset, lost, late=20s, hang."
        ),
    ] = None,
) -> None:
    """Serve a stand-in for CustomerGauge, with its documented rules, until Ctrl-C."""
    from cdc_sync.demo.demo import run_sandbox

    run_sandbox(
        listen,
        source,
        fault or [],
        stop_on_signal(),
        strict_accounts=strict_accounts,
        token_seconds=token_seconds,
    )
