"""The commands that look at contracts: list, show, and resend."""

from typing import Annotated

import typer

from cdc_sync.cli.context import state_of
from cdc_sync.cli.names import All, Names, are, named, stay
from cdc_sync.cli.needs import config_with_source
from cdc_sync.cli.output import Json, Yes, confirm, emit
from cdc_sync.cli.story import listed, told
from cdc_sync.clock import utc_now
from cdc_sync.contract import Status

app = typer.Typer(
    name="contracts", help="Look at contracts, and send them again.", no_args_is_help=True
)


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only those of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="List at most so many.")] = 100,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on after an earlier list.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List contracts, in order of their id."""
    from cdc_sync.story import list_contracts  # SQLAlchemy costs 200 ms

    with state_of(context) as state:
        document = list_contracts(state, status, after, limit)
    emit(document, listed(document, utc_now()), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A source id or reference.")],
    as_json: Json = False,
) -> None:
    """Show one contract's whole story; of one that is not known, why."""
    from cdc_sync.story import story_of
    from cdc_sync.unknown import why_unknown

    with state_of(context) as state:
        story = story_of(state, name)
        if story is None:
            reason = why_unknown(state, name, lambda: config_with_source(context))
            emit({"id": name, "known": False, "reason": reason}, reason, as_json=as_json)
            raise typer.Exit(1)
    emit(story, told(story, utc_now()), as_json=as_json)


@app.command()
def resend(
    context: typer.Context,
    ids: Names = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send synced contracts once more, although CustomerGauge has them."""
    from cdc_sync import operations

    names = named(ids, everything=everything)
    with state_of(context) as state:
        if names is None and not confirm("Send every synced contract once more?", yes=yes):
            raise typer.Exit(1)
        count = operations.resend(state, names, utc_now())
    emit({"resent": count}, _said(count, names), as_json=as_json)


def _said(count: int, names: list[str] | None) -> str:
    others = 0 if names is None else len(set(names)) - count
    rest = f" {stay(others)}: only what is synced is sent again." if others > 0 else ""
    return f"{are(count)} due now.{rest}"
