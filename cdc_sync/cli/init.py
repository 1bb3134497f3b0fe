"""`init`: its options, and the files that it writes."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_sync.cli import wizard
from cdc_sync.cli.context import command_for
from cdc_sync.cli.plan import run_check
from cdc_sync.config.load import load_config
from cdc_sync.config.write import count_set_lines, render
from cdc_sync.setup.files import Place, config_as_written, files_of, write_files


def _option(metavar: str, help: str, *names: str) -> Any:  # noqa: A002  # typer's word
    return typer.Option(*names, metavar=metavar, help=help)


_Text = str | None
Output = Annotated[Path | None, _option("FILE", "The file to write.", "--output", "-o")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
SourceUrl = Annotated[_Text, _option("URL", "The source database.")]
PasswordFile = Annotated[_Text, _option("FILE", "File with the source's password; - is stdin.")]
Table = Annotated[_Text, typer.Option(help="The table or view with the contracts.")]
Id = Annotated[_Text, _option("COLUMNS", "Its key; separate several by commas.")]
Watermark = Annotated[_Text, _option("COLUMN", "The column that grows with every change.")]
TimeZone = Annotated[
    _Text, typer.Option(help="Zone of a watermark column without one: Europe/Berlin.")
]
Reference = Annotated[_Text, _option("TEMPLATE", "The contract's key in CustomerGauge: erp-{id}.")]
Account = Annotated[_Text, _option("TEMPLATE", "The account's name: a column or a template.")]
Start = Annotated[_Text, _option("TEMPLATE", "The first day.")]
End = Annotated[_Text, _option("TEMPLATE", "The last day; - leaves it out.")]
Description = Annotated[_Text, _option("TEMPLATE", "The description; - leaves it out.")]
Region = Annotated[_Text, typer.Option(help="The platform's region: eu, us or au.")]
BaseUrl = Annotated[_Text, _option("URL", "The API; with --token-url in place of --region.")]
TokenUrl = Annotated[_Text, _option("URL", "The token endpoint.")]
ClientId = Annotated[_Text, typer.Option(help="The OAuth2 client's id.")]
SecretFile = Annotated[_Text, _option("FILE", "File with the client's secret; - is stdin.")]
StateUrl = Annotated[_Text, _option("URL", "The state database.")]
Check = Annotated[bool, typer.Option("--check/--no-check", help="Run check at the end.")]


def init(  # noqa: PLR0913, PLR0917  # one argument an option
    context: typer.Context,
    output: Output = None,
    force: Force = False,
    source_url: SourceUrl = None,
    source_password_file: PasswordFile = None,
    table: Table = None,
    id: Id = None,  # noqa: A002  # the option's name
    watermark: Watermark = None,
    time_zone: TimeZone = None,
    reference: Reference = None,
    account: Account = None,
    start: Start = None,
    end: End = None,
    description: Description = None,
    region: Region = None,
    base_url: BaseUrl = None,
    token_url: TokenUrl = None,
    client_id: ClientId = None,
    client_secret_file: SecretFile = None,
    state_url: StateUrl = None,
    check: Check = True,
) -> None:
    """Write a commented config.yaml from a few questions or from options; then check it."""
    flags = {name.replace("_", "-"): value for name, value in locals().items()}
    place = Place(output or context.obj or Path("config.yaml"))
    prompter = wizard.Prompter(flags, sys.stdin.isatty())
    answers = wizard.run(prompter, place, force=force)
    text = render(config_as_written(answers, place))
    files = files_of(answers, place, text)
    write_files(files, force=force)
    for path in files.keys() - {place.config}:
        print(f"  → {path} (0600)")
    print(
        f"Wrote {place.config}: {count_set_lines(text)} lines that matter,"
        " the rest commented with its default."
    )
    if not check:
        print(f"Next: {command_for(place.config)} check")
    else:
        print()
        run_check(load_config(place.config, os.environ), place.config, as_json=False)
