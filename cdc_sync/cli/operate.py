"""The commands that act on delivery: retry, pause, resume."""

import typer

from cdc_sync.cli.context import state_of
from cdc_sync.cli.names import All, Names, are, named, stay
from cdc_sync.cli.output import Json, emit
from cdc_sync.clock import utc_now

_HEEDED = "A running daemon heeds it within a second."


def retry(
    context: typer.Context, ids: Names = None, everything: All = False, as_json: Json = False
) -> None:
    """Make rejected, waiting or backing-off contracts due now."""
    from cdc_sync import operations  # SQLAlchemy costs 200 ms

    names = named(ids, everything=everything)
    with state_of(context) as state:
        count = operations.retry(state, names, utc_now())
    emit({"retried": count}, _said(count, names), as_json=as_json)


def pause(context: typer.Context, as_json: Json = False) -> None:
    """Stop delivery; the source is still read."""
    from cdc_sync import operations

    with state_of(context) as state:
        is_new = operations.pause(state)
    human = "Delivery is paused" if is_new else "Delivery was paused already"
    emit({"paused": True}, f"{human}, until: cdc-sync resume. {_HEEDED}", as_json=as_json)


def resume(context: typer.Context, as_json: Json = False) -> None:
    """Start delivery again."""
    from cdc_sync import operations

    with state_of(context) as state:
        was_paused = operations.resume(state, utc_now())
        waits = operations.everybody_waits(state, utc_now())
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
