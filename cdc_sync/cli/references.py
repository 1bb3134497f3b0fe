"""The commands about references: for contracts that CustomerGauge had before us."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from cdc_sync.cli.context import current_user, open_state, read_config
from cdc_sync.cli.output import DryRun, Json, count_unchanged, emit, printable
from cdc_sync.clock import utc_now
from cdc_sync.errors import UserMistake
from cdc_sync.operations import references
from cdc_sync.operations.references import ImportResult
from cdc_sync.wording import format_count

MISTAKES_SHOWN = 20
STDOUT = Path("-")

app = typer.Typer(
    name="references",
    help="Import, export and move references.",
    no_args_is_help=True,
)


@app.command()
def export(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="[FILE.csv]", help="The file to write; without one, stdout.")
    ] = STDOUT,
) -> None:
    """Write source_id,reference of every contract that CustomerGauge has."""
    with open_state(context) as state, _open_for_writing(file) as to:
        count = references.export(state, to)
    if file != STDOUT:
        print(f"{format_count(count, 'reference')} written to {file}.")


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="UTF-8, with the header source_id,reference.")
    ],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Import references that CustomerGauge has already: the whole file, or nothing."""
    id_columns = len(read_config(context, secrets=False).source.id)
    with open_state(context) as state:
        done = references.import_file(state, file, id_columns, utc_now(), dry_run=dry_run)
    text = _describe_import(done, dry_run=dry_run)
    emit(done.document(), text, as_json=as_json, ok=not done.mistakes)


@app.command()
def move(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Id or reference of one that is gone.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The id that took its place.")],
    reason: Annotated[str | None, typer.Option(help="Why, for the history.")] = None,
    as_json: Json = False,
) -> None:
    """Hand the reference of a contract that is gone to the row that took over its contract."""
    id_columns = len(read_config(context, secrets=False).source.id)
    with open_state(context) as state:
        moved = references.move(
            state, old, new, id_columns, who=current_user(), reason=reason or "", now=utc_now()
        )
    text = f"{moved} belongs to {new} now. What differs is sent; see: cdc-sync contracts show {new}"
    emit({"reference": moved, "from": old, "to": new}, text, as_json=as_json)


@contextmanager
def _open_for_writing(file: Path) -> Iterator[TextIO]:
    """Opens stdout, or a file that is there whole in the end or as it was. Raises UserMistake."""
    if file == STDOUT:
        with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as to:
            yield to
        return
    target = file.resolve()  # a link stays a link
    if target.exists() and not target.is_file():
        raise UserMistake(f"{file} is not a file.", hint="For stdout write: -")
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with new.open("x", encoding="utf-8", newline="") as to, ExitStack() as stack:
            stack.callback(new.unlink, missing_ok=True)
            yield to
            to.flush()
            os.fsync(to.fileno())
            new.replace(target)
    except OSError as error:
        raise UserMistake(f"{file} cannot be written: {error.strerror}.") from error


def _describe_import(done: ImportResult, *, dry_run: bool) -> str:
    if done.mistakes:
        lines = [
            f"Nothing was imported: {format_count(len(done.mistakes), 'line')} cannot be taken."
        ]
        for line, says in done.mistakes[:MISTAKES_SHOWN]:
            lines.append(f"  line {line}: {printable(says)}")
        if (more := len(done.mistakes) - MISTAKES_SHOWN) > 0:
            lines.append(f"  … and {more:,} more")
        return "\n".join(lines)
    head = f"{format_count(done.imported, 'reference')} {'would be ' if dry_run else ''}imported"
    head += f"; {count_unchanged(done.unchanged)}." if done.unchanged else "."
    return head if dry_run else "\n".join([head, *_advise(done)])


def _advise(done: ImportResult) -> Iterator[str]:
    if done.not_met:
        yield (
            f"{done.not_met:,} of them have not been seen in the source yet. If their ids are"
            " spelled as in the source, `cdc-sync plan` now says update, not create."
        )
    if done.refused_by_us:
        yield (
            f"{done.refused_by_us:,} were rejected before they were sent:"
            " `cdc-sync reconcile` judges them again."
        )
