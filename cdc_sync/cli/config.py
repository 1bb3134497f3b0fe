"""The commands about the configuration: its schema, and what is in force."""

import json

import typer

from cdc_sync.cli.context import config_of, config_path
from cdc_sync.cli.output import Json, emit

app = typer.Typer(name="config", help="Show the configuration.", no_args_is_help=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml, for editors."""
    from cdc_sync.config.present import config_schema  # only here is it made

    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the configuration in force, defaults and variables put in, secrets masked."""
    from cdc_sync.config.present import effective
    from cdc_sync.config.written import as_yaml

    document = effective(config_of(context))
    emit(document, f"# {config_path(context)}\n{as_yaml(document)}", as_json=as_json)
