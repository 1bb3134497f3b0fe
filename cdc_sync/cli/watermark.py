"""The commands about the watermark: where it stands, and moves by hand."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.cli.context import config_path, state_of, who
from cdc_sync.cli.needs import config_with_source
from cdc_sync.cli.output import Json, Yes, confirm, emit
from cdc_sync.cli.positions import described, history_lines, proposed
from cdc_sync.clock import utc_now

if TYPE_CHECKING:
    from cdc_sync.moves import Target
    from cdc_sync.state.database import Database

app = typer.Typer(
    name="watermark", help="Look at the watermark, and move it.", no_args_is_help=True
)

Reason = Annotated[str | None, typer.Option(help="Why; kept in the history.")]


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show where the watermark stands."""
    from cdc_sync.moves import watermark_document  # SQLAlchemy costs 200 ms

    with state_of(context) as state:
        document = watermark_document(state)
    emit(document, described(document, utc_now()), as_json=as_json)


@app.command("set")
def set_(  # typer: one argument an option
    context: typer.Context,
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="A time, such as 2026-11-23T12:00:00Z, or a number."),
    ],
    reason: Reason = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also to where late commits would be missed.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Move the watermark to a value; without zone it is in the column's own."""
    from cdc_sync.moves import to_value

    _move(context, "set", to_value(value, force=force), reason, yes=yes, as_json=as_json)


@app.command()
def rewind(
    context: typer.Context,
    by: Annotated[
        str, typer.Argument(metavar="DURATION", help="Such as 2h; a number for an integer column.")
    ],
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Move the watermark back from where it stands."""
    from cdc_sync.moves import back_by

    _move(context, "rewind", back_by(by), reason, yes=yes, as_json=as_json)


@app.command()
def reset(
    context: typer.Context, reason: Reason = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Forget the watermark, so that everything is read once more."""
    from cdc_sync.moves import to_nothing

    _move(context, "reset", to_nothing, reason, yes=yes, as_json=as_json)


@app.command()
def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="List at most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List the moves by hand, the latest first."""
    from cdc_sync.moves import moves_document

    with state_of(context) as state:
        document = moves_document(state, limit)
    emit(document, history_lines(document, utc_now()), as_json=as_json)


def _move(
    context: typer.Context,
    kind: str,
    target: "Target",
    reason: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Says what it would mean, asks, moves: no transaction is open while a person thinks."""
    from cdc_sync import moves

    config = config_with_source(context)
    with state_of(context) as state:
        move = moves.planned(config, state, kind, target)
        place = f"config {config_path(context)}, state {state.name}"
        typer.echo(f"{place}\n{proposed(move)}", err=as_json)
        if not confirm("Move it?", yes=yes):
            typer.echo("Nothing was moved.", err=as_json)
            raise typer.Exit(1)
        version = moves.carry_out(state, move, who(), reason, utc_now())
        done = f"Moved (version {version}) by {who()}. {_then(state, config.schedule.poll)}"
    emit(move.document(version), done, as_json=as_json)


def _then(state: "Database", interval: timedelta) -> str:
    """Who reads from there, and when."""
    from cdc_sync.status import read_status

    document = read_status(state, utc_now())
    if not document["daemon"]["running"]:
        return "The next poll reads from there: cdc-sync once, or start the service."
    poll = document["last_poll"]
    left = max(0.0, interval.total_seconds() - poll["age_seconds"]) if poll else None
    soon = "" if left is None else f", in {left:.0f} s"
    return f"The daemon reads from there at its next poll{soon}."
