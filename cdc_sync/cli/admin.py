"""The commands about the state database: its tables, and whom it belongs to."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.cli.context import command_with, config_of, config_path, config_with_client, state_of
from cdc_sync.cli.output import Json, Yes, confirm, emit
from cdc_sync.errors import UserMistake
from cdc_sync.wording import format_count

db_app = typer.Typer(name="db", help="Manage the state database.", no_args_is_help=True)
_ASKED = (
    "The configuration names {}. What was acknowledged counts as held there, and is not sent again."
)
config_app = typer.Typer(name="config", help="Show the configuration.", no_args_is_help=True)
service_app = typer.Typer(
    name="service", help="Run the daemon under systemd.", no_args_is_help=True
)
Name = Annotated[
    str | None, typer.Argument(help="An instance: /etc/cdc-sync/NAME.yaml, cdc-sync@NAME.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")
]
Root = Annotated[Path, typer.Option(metavar="DIR", help="Act on the system image in DIR.")]
alerts_app = typer.Typer(name="alerts", help="Report problems to people.", no_args_is_help=True)


@db_app.command()
def upgrade(context: typer.Context, as_json: Json = False) -> None:
    """Upgrade the tables of the state to this version; a SQLite file is copied first."""
    from cdc_sync.state import schema  # SQLAlchemy costs 200 ms

    url = config_of(context, secrets=False).state.url.get_secret_value()
    done = schema.upgrade_state(url)
    human = f"Upgraded from {done['from'] or 'no tables'} to revision {done['current']}."
    if done["from"] == done["current"]:
        human = f"The tables are of revision {done['current']} already, the newest."
    emit(done, human, as_json=as_json)


@db_app.command()
def current(context: typer.Context, as_json: Json = False) -> None:
    """Show the revision of the state's tables, and the newest one."""
    from cdc_sync.state import schema

    url = config_of(context, secrets=False).state.url.get_secret_value()
    document = schema.read_revisions(url)
    human = f"revision {document['current'] or 'none: no tables yet'}, newest {document['newest']}"
    emit(document, human, as_json=as_json)


@db_app.command()
def adopt(context: typer.Context, yes: Yes = False) -> None:
    """Make the state belong to this configuration's client of the same CustomerGauge."""
    from cdc_sync.state import schema

    config = config_with_client(context).customergauge
    with state_of(context) as state:
        theirs, ours = schema.describe_owners(state, config)
        if theirs == ours:
            print(f"The state {state.name} belongs to {ours} already.")
            return
        print(f"The state {state.name} belongs to {theirs or 'nobody yet'}.\n{_ASKED.format(ours)}")
        if not confirm("Are both the same platform?", yes=yes):
            print("Nothing was changed.")
            raise typer.Exit(1)
        schema.adopt(state, config)
    print(f"It belongs to {ours} from now on.")


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml, for editors."""
    from cdc_sync.config.write import config_schema  # only here is it made

    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))


@config_app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the configuration in force, with defaults and variables; secrets are masked."""
    from cdc_sync.config.write import as_yaml

    document = config_of(context).model_dump(mode="json")
    emit(document, f"# {config_path(context)}\n{as_yaml(document)}", as_json=as_json)


if TYPE_CHECKING:
    from cdc_sync.setup.service import Step


@service_app.command()
def install(name: Name = None, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Install the user, unit, directories and rights that are not there yet."""
    from cdc_sync.setup.host import Host, expect_runnable, parts_of, this_program
    from cdc_sync.setup.service import Service, has_example, install

    service, host, program = Service(name), Host(root.absolute(), dry_run), this_program()
    if not dry_run:
        _expect_root("install")
        expect_runnable(parts_of(program))
    _tell(install(service, host, program), dry=dry_run)
    if dry_run:
        expect_runnable(parts_of(program))
    else:
        example = service.place.config if has_example(service, host) else None
        first = f"fill in {example}; then " if example else ""
        print(f"Next: {first}systemctl enable --now {service.unit}")


@service_app.command()
def uninstall(name: Name = None, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Stop the service and remove the files that install wrote, unless you edited them."""
    from cdc_sync.setup.host import Host
    from cdc_sync.setup.service import Service, uninstall

    if not dry_run:
        _expect_root("uninstall")
    _tell(uninstall(Service(name), Host(root.absolute(), dry_run)), dry=dry_run)


def _expect_root(command: str) -> None:
    if os.geteuid() != 0:
        raise UserMistake(
            "This writes below /etc and needs root.", hint=f"Run: sudo cdc-sync service {command}"
        )


def _tell(steps: "Iterable[Step]", *, dry: bool) -> None:
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
def try_out(context: typer.Context, as_json: Json = False) -> None:
    """Send a test message to each of `alerts.urls`; exit 1 if one could not be sent."""
    import socket

    from cdc_sync.alerts.notifier import receivers
    from cdc_sync.cli.output import table
    from cdc_sync.errors import UserMistake
    from cdc_sync.log import configure_log
    from cdc_sync.sync import redaction_of

    config = config_of(context)
    configure_log("error", "auto", redaction_of(config))
    there = receivers(config.alerts)
    if not there:
        raise UserMistake("`alerts.urls` is empty: there is nobody to tell.", hint="Add a URL.")
    body = f"This is a test. So you will be told of troubles.\n{socket.gethostname()}"
    failed = {to.name: to.send(None, "cdc-sync: a test", body) for to in there}
    sent = [{"receiver": name, "ok": why is None, "says": why} for name, why in failed.items()]
    rows = [("ok" if why is None else "FAIL", name, why or "sent") for name, why in failed.items()]
    ok = all(why is None for why in failed.values())
    emit({"ok": ok, "receivers": sent}, table(rows), as_json=as_json)
    if not ok:
        raise typer.Exit(1)


if TYPE_CHECKING:
    from cdc_sync.check.findings import Finding
    from cdc_sync.config.model import Config


def check(context: typer.Context, as_json: Json = False) -> None:
    """Check everything that a run needs, and say how to correct it; sends nothing."""
    report(config_of(context), config_path(context), as_json=as_json)


def report(config: "Config", path: Path, *, as_json: bool) -> None:
    """Prints what was found. Raises typer.Exit where something is wrong."""
    from cdc_sync.check.check import check as look
    from cdc_sync.log import configure_log
    from cdc_sync.sync import redaction_of

    configure_log("error", "auto", redaction_of(config))
    findings = look(config, path)
    ok = all(finding.ok for finding in findings)
    document = {
        "ok": ok,
        "findings": [
            {"name": f.name, "ok": f.ok, "says": f.message, "mend": f.hint} for f in findings
        ],
    }
    emit(document, "\n".join([*map(_line, findings), _end(findings, path, ok=ok)]), as_json=as_json)
    if not ok:
        raise typer.Exit(1)


def _line(finding: "Finding") -> str:
    mark = "WRONG" if not finding.ok else "note" if finding.hint else "ok"
    hint = f"\n                   {finding.hint}" if finding.hint else ""
    return f"  {mark:<6}{finding.name:<11}{finding.message}{hint}"


def _end(findings: list["Finding"], path: Path, *, ok: bool) -> str:
    wrong = sum(not finding.ok for finding in findings)
    if not ok:
        return f"Not ready: {format_count(wrong, 'thing is', 'things are')} wrong."
    notes = sum(finding.hint is not None for finding in findings)
    told = f", {format_count(notes, 'note')}" if notes else ""
    return f"Ready{told}. Next: {command_with(path)} plan"


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End after this many seconds, with a summary.")
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
    from cdc_sync.cli.run import until_signal
    from cdc_sync.demo.demo import run_sandbox

    run_sandbox(
        listen,
        source,
        fault or [],
        until_signal(),
        strict_accounts=strict_accounts,
        token_seconds=token_seconds,
    )
