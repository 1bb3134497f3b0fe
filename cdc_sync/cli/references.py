"""The commands about references: for contracts that CustomerGauge had before us."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from cdc_sync.cli.context import config_of, state_of
from cdc_sync.cli.output import Json, emit, shown, stay
from cdc_sync.clock import utc_now
from cdc_sync.errors import UserMistake
from cdc_sync.wording import format_count

if TYPE_CHECKING:
    from cdc_sync.operations.references import ImportResult

LINES_TOLD = 20

app = typer.Typer(
    name="references",
    help="Import and export the references of contracts.",
    no_args_is_help=True,
)


@app.command()
def export(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="The file to write; - is stdout.")
    ],
) -> None:
    """Write source_id,reference of every contract that CustomerGauge has."""
    from cdc_sync.operations import references  # SQLAlchemy costs 200 ms

    with state_of(context) as state, _written(file) as to:
        count = references.export(state, to)
    if not _is_stdout(file):
        print(f"{format_count(count, 'reference')} written to {file}.")


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="UTF-8, with the header source_id,reference.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import references that CustomerGauge has already: the whole file, or nothing."""
    from cdc_sync.operations import references

    id_columns = len(config_of(context, secrets=False).source.id)
    with state_of(context) as state:
        done = references.import_file(state, file, id_columns, utc_now(), dry_run=dry_run)
    emit(done.document(), _said(done, dry_run=dry_run), as_json=as_json)
    if done.mistakes:
        raise typer.Exit(1)


def _is_stdout(file: Path) -> bool:
    return str(file) == "-"


@contextmanager
def _written(file: Path) -> Iterator[TextIO]:
    """A file that is there whole or as it was before. Raises UserMistake."""
    if _is_stdout(file):
        with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as to:
            yield to
        return
    target = file.resolve()  # a link stays a link
    if target.exists() and not target.is_file():
        raise UserMistake(f"{file} is not a file.", hint="For stdout write: -")
    try:
        with _replacing(target) as to:
            yield to
    except OSError as error:
        raise UserMistake(f"{file} cannot be written: {error.strerror}.") from error


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    new = target.with_name(f".{target.name}.{os.getpid()}")
    with new.open("x", encoding="utf-8", newline="") as to:
        try:
            yield to
            to.flush()
            os.fsync(to.fileno())
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)


def _said(done: "ImportResult", *, dry_run: bool) -> str:
    if done.mistakes:
        told = [f"  line {line}: {shown(says)}" for line, says in done.mistakes[:LINES_TOLD]]
        more = len(done.mistakes) - LINES_TOLD
        rest = [f"  … and {more:,} more"] if more > 0 else []
        head = f"Nothing was imported: {format_count(len(done.mistakes), 'line')} cannot be taken."
        return "\n".join([head, *told, *rest])
    would = "would be " if dry_run else ""
    head = f"{format_count(done.imported, 'reference')} {would}imported"
    head = f"{head}; {stay(done.unchanged)}." if done.unchanged else f"{head}."
    return "\n".join([head, *([] if dry_run else _next(done))])


def _next(done: "ImportResult") -> list[str]:
    found = []
    if done.not_met:
        found.append(
            f"{done.not_met:,} of them have not been seen in the source yet. If their ids are"
            " spelled as in the source, `cdc-sync plan` now says update, not create."
        )
    if done.refused_by_us:
        found.append(
            f"{done.refused_by_us:,} were rejected before they were sent:"
            " `cdc-sync reconcile` judges them again."
        )
    return found
