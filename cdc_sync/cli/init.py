"""`init`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.cli.context import command_with

if TYPE_CHECKING:
    from cdc_sync.setup.files import Answers, Place

_Text = str | None
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
SourceUrl = Annotated[_Text, typer.Option(metavar="URL", help="The source database.")]
PasswordFile = Annotated[
    _Text, typer.Option(metavar="FILE", help="File with the source's password; - is stdin.")
]
Table = Annotated[_Text, typer.Option(help="The table or view with the contracts.")]
Id = Annotated[_Text, typer.Option(metavar="COLUMNS", help="Its key; separate several by commas.")]
Watermark = Annotated[
    _Text, typer.Option(metavar="COLUMN", help="The column that grows with every change.")
]
TimeZone = Annotated[
    _Text, typer.Option(help="Zone of a watermark column without one: Europe/Berlin.")
]
Reference = Annotated[
    _Text, typer.Option(metavar="TEMPLATE", help="The contract's key in CustomerGauge: erp-{id}.")
]
Account = Annotated[
    _Text, typer.Option(metavar="TEMPLATE", help="The account's name: a column or a template.")
]
Start = Annotated[_Text, typer.Option(metavar="TEMPLATE", help="The first day.")]
End = Annotated[_Text, typer.Option(metavar="TEMPLATE", help="The last day; - leaves it out.")]
Description = Annotated[
    _Text, typer.Option(metavar="TEMPLATE", help="The description; - leaves it out.")
]
Region = Annotated[_Text, typer.Option(help="The platform's region: eu, us or au.")]
BaseUrl = Annotated[
    _Text, typer.Option(metavar="URL", help="The API; with --token-url in place of --region.")
]
TokenUrl = Annotated[_Text, typer.Option(metavar="URL", help="The token endpoint.")]
ClientId = Annotated[_Text, typer.Option(help="The OAuth2 client's id.")]
SecretFile = Annotated[
    _Text, typer.Option(metavar="FILE", help="File with the client's secret; - is stdin.")
]
StateUrl = Annotated[_Text, typer.Option(metavar="URL", help="The state database.")]
Look = Annotated[bool, typer.Option("--check/--no-check", help="Run check at the end.")]


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
    check: Look = True,
) -> None:
    """Write a commented config.yaml from a few questions or from options; then check it."""
    flags = {name.replace("_", "-"): value for name, value in locals().items()}
    from cdc_sync.cli.wizard import Asker, converse
    from cdc_sync.setup.files import Place

    place = Place(output or context.obj.config or Path("config.yaml"))
    answers = converse(Asker(flags, sys.stdin.isatty()), place, force=force)
    _write(answers, place, force=force)
    if check:
        _check(place)


def _write(answers: "Answers", place: "Place", *, force: bool) -> None:
    from cdc_sync.config.write import count_set_lines, render
    from cdc_sync.setup.files import config_as_written, files_of, write_files

    text = render(config_as_written(answers, place))
    write_files(files_of(answers, place, text), force=force)
    print(
        f"Wrote {place.config}: {count_set_lines(text)} lines that matter,"
        f" the rest commented with its default. Next: {command_with(place.config)} check"
    )


def _check(place: "Place") -> None:
    import os

    from cdc_sync.cli.admin import report
    from cdc_sync.config.load import load_config

    print()
    report(load_config(place.config, os.environ), place.config, as_json=False)
