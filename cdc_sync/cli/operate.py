"""The commands that act on delivery: retry, pause, resume, approve and discard."""

from typing import Any

import typer

from cdc_sync.cli.context import find_config_file, open_state, read_config
from cdc_sync.cli.output import (
    All,
    Json,
    Names,
    Yes,
    confirm,
    describe_due,
    describe_hold,
    emit,
    names_or_all,
)
from cdc_sync.cli.run import sync_now
from cdc_sync.clock import utc_now
from cdc_sync.operations import actions

_OBEYS = "A running daemon obeys within a second."
_NOT_RETRIED = (
    "not rejected by CustomerGauge, waiting or backing off"
    " (what our own rules refuse is corrected in the source)"
)


def retry(
    context: typer.Context, ids: Names = None, everything: All = False, as_json: Json = False
) -> None:
    """Make rejected, waiting or backing-off contracts due now."""
    names = names_or_all(ids, everything=everything)
    with open_state(context) as state:
        count = actions.retry(state, names, utc_now())
    emit({"retried": count}, describe_due(count, names, _NOT_RETRIED), as_json=as_json)


def pause(context: typer.Context, as_json: Json = False) -> None:
    """Stop delivery; the source is still read."""
    with open_state(context) as state:
        is_new = actions.pause(state)
    text = "Delivery is paused" if is_new else "Delivery was paused already"
    emit({"paused": True}, f"{text}, until: cdc-sync resume. {_OBEYS}", as_json=as_json)


def resume(context: typer.Context, as_json: Json = False) -> None:
    """Start delivery again."""
    with open_state(context) as state:
        was_paused = actions.resume(state, utc_now())
        throttled_until = actions.throttled_until(state, utc_now())
    text = "Delivery goes on." if was_paused else "Delivery was not paused."
    if throttled_until is not None:
        text += f" CustomerGauge asks everybody to wait until {throttled_until:%H:%M:%S}Z."
    elif not was_paused:
        text = "Delivery was not paused; it tries again at once."
    emit({"paused": False}, f"{text} {_OBEYS}", as_json=as_json)


def approve(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Send what the guard holds."""
    ends = read_config(context, secrets=False).deletes.policy == "end"
    with open_state(context) as state:
        hold = actions.held_document(state)
        if hold is None:
            emit({"released": 0, "held": 0}, "Nothing is held.", as_json=as_json)
            return
        _confirm(context, hold, "Send them?", yes=yes, as_json=as_json)
        done = actions.approve(state, hold["run"], ends=ends, now=utc_now())
    later = f" {done['held']:,} came meanwhile and stay held." if done["held"] else ""
    text = f"{done['released']:,} released; a running daemon sends them within a second, else: "
    emit(done, f"{text}cdc-sync once.{later}", as_json=as_json)


def discard(context: typer.Context, yes: Yes = False, as_json: Json = False) -> None:
    """Discard what the guard holds: read it again from the source, by id; then deliver."""
    with open_state(context) as state:
        hold = actions.held_document(state)
    if hold is None:
        emit({"released": 0, "held": 0}, "Nothing is held.", as_json=as_json)
        return
    _confirm(context, hold, "Drop them, and ask the source anew?", yes=yes, as_json=as_json)
    sync_now(context, "discard", as_json=as_json)


def _confirm(
    context: typer.Context, hold: dict[str, Any], question: str, *, yes: bool, as_json: bool
) -> None:
    """Shows what is held, and asks."""
    text = f"config {find_config_file(context)}\n{describe_hold(hold, utc_now())}"
    typer.echo(text, err=as_json)
    confirm(question, yes=yes, as_json=as_json)
