"""The commands that act on delivery: retry, pause, resume."""

import sys
from datetime import datetime
from typing import Any

import typer

from cdc_sync.cli.context import config_of, config_path, state_of
from cdc_sync.cli.output import (
    All,
    Json,
    Names,
    Yes,
    are,
    clock,
    confirm,
    difference,
    emit,
    named,
    stay,
    table,
)
from cdc_sync.clock import utc_now
from cdc_sync.wording import format_count, sort_fields, value_or_dash

_HEEDED = "A running daemon obeys within a second."


def retry(
    context: typer.Context, ids: Names = None, everything: All = False, as_json: Json = False
) -> None:
    """Make rejected, waiting or backing-off contracts due now."""
    from cdc_sync.operations import actions  # SQLAlchemy costs 200 ms

    names = named(ids, everything=everything)
    with state_of(context) as state:
        count = actions.retry(state, names, utc_now())
    emit({"retried": count}, _said(count, names), as_json=as_json)


def pause(context: typer.Context, as_json: Json = False) -> None:
    """Stop delivery; the source is still read."""
    from cdc_sync.operations import actions

    with state_of(context) as state:
        is_new = actions.pause(state)
    human = "Delivery is paused" if is_new else "Delivery was paused already"
    emit({"paused": True}, f"{human}, until: cdc-sync resume. {_HEEDED}", as_json=as_json)


def resume(context: typer.Context, as_json: Json = False) -> None:
    """Start delivery again."""
    from cdc_sync.operations import actions

    with state_of(context) as state:
        was_paused = actions.resume(state, utc_now())
        waits = actions.throttled_until(state, utc_now())
    human = "Delivery goes on." if was_paused else "Delivery was not paused."
    if waits is not None:
        human += f" CustomerGauge asks everybody to wait until {waits:%H:%M:%S}Z."
    elif not was_paused:
        human = "Delivery was not paused; it tries again at once."
    emit({"paused": False}, f"{human} {_HEEDED}", as_json=as_json)


def _said(count: int, names: list[str] | None) -> str:
    due = f"{are(count)} due now."
    others = 0 if names is None else len(set(names)) - count
    if others <= 0:
        return due
    return (
        f"{due} {stay(others)}: not rejected by CustomerGauge, waiting or backing off"
        " (what our own rules refuse is mended in the source)."
    )


def approve(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Send what the guard holds."""
    from cdc_sync.operations import actions  # SQLAlchemy costs 200 ms

    ends = config_of(context, secrets=False).deletes.policy == "end"
    with state_of(context) as state:
        hold = actions.held_document(state)
        if hold is None:
            emit({"released": 0, "held": 0}, "Nothing is held.", as_json=as_json)
            return
        _ask(context, hold, "Send them?", yes=yes, as_json=as_json)
        done = actions.approve(state, hold["run"], ends=ends, now=utc_now())
    later = f" {done['held']:,} came meanwhile and stay held." if done["held"] else ""
    words = f"{done['released']:,} released; a running daemon sends them within a second, else: "
    emit(done, f"{words}cdc-sync once.{later}", as_json=as_json)


def discard(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Discard what the guard holds: read it again from the source, by id; then deliver."""
    from cdc_sync.cli.run import work
    from cdc_sync.operations import actions

    with state_of(context) as state:
        hold = actions.held_document(state)
    if hold is None:
        emit({"released": 0, "held": 0}, "Nothing is held.", as_json=as_json)
        return
    _ask(context, hold, "Drop them, and ask the source anew?", yes=yes, as_json=as_json)
    work(context, "discard", as_json=as_json)


def _ask(
    context: typer.Context, hold: dict[str, Any], question: str, *, yes: bool, as_json: bool
) -> None:
    """On a terminal asks; a script that says approve or discard means it."""
    typer.echo(f"config {config_path(context)}\n{described(hold, utc_now())}", err=as_json)
    if not confirm(question, yes=yes or not sys.stdin.isatty()):
        typer.echo("Nothing was changed.", err=as_json)
        raise typer.Exit(1)


def described(hold: dict[str, Any], now: datetime) -> str:
    """How much is held, why, and a few of them."""
    return "\n".join([_why(hold, now), *examples(hold)])


def examples(hold: dict[str, Any]) -> list[str]:
    """A few of what is held, one line each."""
    lines = [table([_example(one) for one in hold["examples"]])] if hold["examples"] else []
    if hold["held"] > len(hold["examples"]):
        lines.append("  and more: cdc-sync contracts list --status held")
    return lines


def _why(hold: dict[str, Any], now: datetime) -> str:
    parts = [f"{hold[name]:,} {name}" for name in ("updated", "new", "gone") if hold[name]]
    when = clock(datetime.fromisoformat(hold["at"]), now)
    count = format_count(hold["held"], "contract")
    return (
        f"{count} held by the guard. The {hold['kind']} of {when} would"
        f" have changed {hold['changes']:,} at once ({', '.join(parts)}),"
        f" of {hold['known']:,} known."
    )


def _example(one: dict[str, Any]) -> tuple[str, str]:
    if one["gone"]:
        return one["reference"] or one["source_id"], "gone from the source"
    diff = one["diff"]
    if diff.get("account", ("", ""))[0] is None:
        return one["reference"], f"new: {value_or_dash(diff.get('account', ('', ''))[1])}"
    told = (f"{field} {difference(field, diff)}" for field in sort_fields(diff))
    return one["reference"], ", ".join(told) or "as CustomerGauge has it, but in doubt"
