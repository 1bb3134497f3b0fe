"""The commands about what the guard holds: approve and discard."""

import sys
from typing import Any

import typer

from cdc_sync.cli.context import config_of, config_path, state_of
from cdc_sync.cli.held import described
from cdc_sync.cli.output import Json, Yes, confirm, emit
from cdc_sync.clock import utc_now


def approve(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Release what the guard holds: it is sent."""
    from cdc_sync import approval  # SQLAlchemy costs 200 ms

    ends = config_of(context, secrets=False).deletes.policy == "end"
    with state_of(context) as state:
        hold = approval.held_document(state)
        if hold is None:
            emit({"released": 0, "held": 0}, "Nothing is held.", as_json=as_json)
            return
        _ask(context, hold, "Send them?", yes=yes, as_json=as_json)
        done = approval.approve(state, hold["run"], ends=ends, now=utc_now())
    later = f" {done['held']:,} came meanwhile and stay held." if done["held"] else ""
    words = f"{done['released']:,} released; a running daemon sends them within a second, else: "
    emit(done, f"{words}cdc-sync once.{later}", as_json=as_json)


def discard(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Drop what the guard holds, and look at it afresh in the source; then deliver."""
    from cdc_sync import approval
    from cdc_sync.cli.run import work
    from cdc_sync.report import discard_now

    with state_of(context) as state:
        hold = approval.held_document(state)
    if hold is None:
        emit({"released": 0, "held": 0}, "Nothing is held.", as_json=as_json)
        return
    _ask(context, hold, "Drop them, and ask the source anew?", yes=yes, as_json=as_json)
    work(context, "discard", None, discard_now, as_json=as_json)


def _ask(
    context: typer.Context, hold: dict[str, Any], question: str, *, yes: bool, as_json: bool
) -> None:
    """On a terminal asks; a script that says approve or discard means it."""
    typer.echo(f"config {config_path(context)}\n{described(hold, utc_now())}", err=as_json)
    if not confirm(question, yes=yes or not sys.stdin.isatty()):
        typer.echo("Nothing was changed.", err=as_json)
        raise typer.Exit(1)
