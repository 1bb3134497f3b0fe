"""The commands about the watermark: where it stands, and moves by hand."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from cdc_sync.cli.context import (
    current_user,
    find_config_file,
    open_state,
    read_config_with_source,
)
from cdc_sync.cli.output import Json, Yes, confirm, emit, format_clock, table
from cdc_sync.clock import utc_now
from cdc_sync.config.units import format_duration
from cdc_sync.operations import watermark
from cdc_sync.operations.status import read_status
from cdc_sync.operations.watermark import Move, Target
from cdc_sync.state.database import Database
from cdc_sync.wording import format_count

app = typer.Typer(name="watermark", help="Show the watermark, and move it.", no_args_is_help=True)
Reason = Annotated[str | None, typer.Option(help="The reason, for the history.")]
_AGAIN = "only what differs is sent. To send again what does not differ: contracts resend"
_KEPT = "references and acknowledged payloads stay; nothing is sent that does not differ."


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the watermark and the horizon."""
    with open_state(context) as state:
        document = watermark.show_watermark(state)
    emit(document, _describe_watermark(document, utc_now()), as_json=as_json)


@app.command("set")
def set_(  # typer: one argument an option
    context: typer.Context,
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="A time, such as 2026-11-23T12:00:00Z, or a number."),
    ],
    reason: Reason = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if late commits would be missed.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Move the watermark to a value; a time without zone is in the column's."""
    target = watermark.to_value(value, force=force)
    _move(context, "set", target, reason, yes=yes, as_json=as_json)


@app.command()
def rewind(
    context: typer.Context,
    by: Annotated[
        str, typer.Argument(metavar="DURATION", help="How far: 2h; for an integer column a number.")
    ],
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Move the watermark back by a duration."""
    _move(context, "rewind", watermark.back_by(by), reason, yes=yes, as_json=as_json)


@app.command()
def reset(
    context: typer.Context, reason: Reason = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Forget the watermark, so that everything is read once more."""
    _move(context, "reset", watermark.to_nothing, reason, yes=yes, as_json=as_json)


@app.command()
def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 100,
    as_json: Json = False,
) -> None:
    """List who moved the watermark by hand, when and why, the latest first."""
    with open_state(context) as state:
        document = watermark.list_moves(state, limit)
    emit(document, _table_of_moves(document, utc_now()), as_json=as_json)


def _move(
    context: typer.Context,
    kind: str,
    target: Target,
    reason: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Says what it would mean, asks, moves: no transaction is open while a person thinks."""
    config = read_config_with_source(context)
    with open_state(context) as state:
        move = watermark.plan_move(config, state, kind, target)
        place = f"config {find_config_file(context)}, state {state.name}"
        typer.echo(f"{place}\n{_describe_move(move)}", err=as_json)
        confirm("Move it?", yes=yes, as_json=as_json, declined="Nothing was moved.")
        user = current_user()
        version = watermark.apply_move(state, move, user, reason, utc_now())
        next_poll = _describe_next_poll(state, config.schedule.poll)
    emit(
        move.document(version), f"Moved (version {version}) by {user}. {next_poll}", as_json=as_json
    )


def _describe_next_poll(state: Database, interval: timedelta) -> str:
    document = read_status(state, utc_now())
    if not document["daemon"]["running"]:
        return "The next poll reads from there: cdc-sync once, or start the service."
    poll = document["last_poll"]
    left = max(0.0, interval.total_seconds() - poll["age_seconds"]) if poll else None
    soon = "" if left is None else f", in {left:.0f} s"
    return f"The daemon reads from there at its next poll{soon}."


def _describe_watermark(document: dict[str, Any], now: datetime) -> str:
    if document["value"] is None:
        return "There is no watermark yet: the next poll reads everything."
    moved_at = format_clock(document["moved_at"], now)
    reason = f": {document['basis_reason']}" if document["basis_reason"] else ""
    return table(
        [
            ("watermark", f"{document['value']} ({document['type']})"),
            ("moved", f"{moved_at} (version {document['version']})"),
            ("horizon", f"{document['horizon'] or 'not known'} ({document['basis']}{reason})"),
        ]
    )


def _table_of_moves(document: dict[str, Any], now: datetime) -> str:
    if not document["moves"]:
        return "Nobody has moved it by hand."
    return table(
        [
            (
                format_clock(move["at"], now),
                move["who"],
                move["kind"],
                f"{move['from'] or 'none'} → {move['to'] or 'none'}",
                move["reason"] or "",
            )
            for move in document["moves"]
        ]
    )


def _describe_move(move: Move) -> str:
    """Says from where to where it goes, and what is read again."""
    start, end = (_in_zone(value, move.zone) for value in (move.known.value, move.to))
    return f"from {start} to {end}{_distance(move)}\n{_consequence(move)}"


def _in_zone(value: object, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(sep=" ", timespec="seconds")
    return "none" if value is None else str(value)


def _distance(move: Move) -> str:
    if move.kind != "rewind":
        return ""
    before, after = move.known.value, move.to
    if isinstance(before, datetime) and isinstance(after, datetime):
        return f" ({format_duration(before - after)} before where it stands)"
    return f" ({before - after} before where it stands)"  # type: ignore[operator]  # two numbers


def _consequence(move: Move) -> str:
    if move.rows is None:
        rows = f"The source cannot be asked how many rows are read again ({move.unasked})"
        return f"{rows.rstrip('.')}; {_KEPT if move.to is None else _AGAIN}"
    count = format_count(move.rows, "row is", "rows are")
    if move.to is None:
        return f"{'The' if move.rows == 1 else 'All'} {count} read once more; {_KEPT}"
    ahead = "\nIt goes forward: what changed before it and is not read yet waits for a reconcile."
    return f"{count} read again; {_AGAIN}{ahead if move.goes_forward else ''}"
