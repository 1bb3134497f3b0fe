"""The commands about the state database: its tables, and whom it belongs to."""

import typer

from cdc_sync.cli.context import config_of, state_of
from cdc_sync.cli.needs import config_with_client
from cdc_sync.cli.output import Json, Yes, confirm, emit

app = typer.Typer(name="db", help="Look after the state database.", no_args_is_help=True)


@app.command()
def upgrade(context: typer.Context, as_json: Json = False) -> None:
    """Bring the tables of the state to this version."""
    from cdc_sync import schema  # SQLAlchemy costs 200 ms

    url = config_of(context, secrets=False).state.url.get_secret_value()
    done = schema.upgrade(url)
    human = f"Upgraded from {done['from'] or 'no tables'} to revision {done['current']}."
    if done["from"] == done["current"]:
        human = f"The tables are of revision {done['current']} already, the newest."
    emit(done, human, as_json=as_json)


@app.command()
def current(context: typer.Context, as_json: Json = False) -> None:
    """Show the revision of the tables, and the newest."""
    from cdc_sync import schema

    url = config_of(context, secrets=False).state.url.get_secret_value()
    document = schema.revisions(url)
    human = f"revision {document['current'] or 'none: no tables yet'}, newest {document['newest']}"
    emit(document, human, as_json=as_json)


@app.command()
def adopt(context: typer.Context, yes: Yes = False) -> None:
    """Let the state belong to the configuration's client, where it is the same platform."""
    from cdc_sync import ownership, schema

    config = config_with_client(context).customergauge
    with state_of(context) as state:
        theirs, ours = schema.owners(state, config)
        if theirs == ours:
            print(f"The state {state.name} belongs to {ours} already.")
            return
        print(f"The state {state.name} belongs to {theirs or 'nobody yet'}.\n{_ASKED.format(ours)}")
        if not confirm("Are both the same platform?", yes=yes):
            print("Nothing was changed.")
            raise typer.Exit(1)
        ownership.adopt(state, config)
    print(f"It belongs to {ours} from now on.")


_ASKED = (
    "The configuration names {}. What was acknowledged counts as held there, and is not sent again."
)
