"""The commands about the state database: its tables, and whom it belongs to."""

import typer

from cdc_sync.cli.context import config_of, state_of
from cdc_sync.cli.needs import config_with_client
from cdc_sync.cli.output import Json, Yes, confirm, emit

app = typer.Typer(name="db", help="The state database.", no_args_is_help=True)


@app.command()
def upgrade(context: typer.Context, as_json: Json = False) -> None:
    """Bring the tables of the state to this version."""
    from cdc_sync import schema  # noqa: PLC0415  # SQLAlchemy costs 200 ms

    url = config_of(context, secrets=False).state.url.get_secret_value()
    before = schema.upgraded_from(url)
    now = schema.REVISION
    human = f"Upgraded from {before or 'empty'} to {now}."
    emit(
        {"from": before, "current": now},
        f"The tables are of revision {now} already." if before == now else human,
        as_json=as_json,
    )


@app.command()
def current(context: typer.Context, as_json: Json = False) -> None:
    """Show the revision of the tables, and the newest."""
    from cdc_sync import schema  # noqa: PLC0415

    url = config_of(context, secrets=False).state.url.get_secret_value()
    document = schema.revisions(url)
    human = f"revision {document['current'] or 'none: no tables yet'}, newest {document['newest']}"
    emit(document, human, as_json=as_json)


@app.command()
def adopt(context: typer.Context, yes: Yes = False) -> None:
    """Let the state belong to the configuration's client, where it is the same platform."""
    from cdc_sync import ownership, schema  # noqa: PLC0415

    config = config_with_client(context).customergauge
    with state_of(context) as state:
        theirs, ours = schema.owners(state, config)
        if theirs == ours:
            print(f"The state {state.name} belongs to {ours} already.")  # noqa: T201
            return
        print(f"The state {state.name} belongs to {theirs or 'nobody yet'}.\n{_ASKED.format(ours)}")  # noqa: T201
        if not confirm("Are both the same platform?", yes=yes):
            print("Nothing was changed.")  # noqa: T201
            raise typer.Exit(1)
        ownership.adopt(state, config)
    print(f"It belongs to {ours} from now on.")  # noqa: T201


_ASKED = (
    "The configuration names {}. What was acknowledged counts as held there, and is not sent again."
)
