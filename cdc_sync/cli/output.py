"""How commands speak: sentences on a terminal, one JSON document with --json, questions."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

from cdc_sync.clock import utc_now
from cdc_sync.errors import UserMistake
from cdc_sync.state import outbox
from cdc_sync.state.database import Database
from cdc_sync.wording import format_count, format_instant, value_or_dash

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WIDEST = 60  # characters of a cell that is not the last of its line
Names = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Source ids or references.")]
All = Annotated[bool, typer.Option("--all", help="All contracts.")]
REFRESH_SECONDS = 0.2


def emit(document: Any, human: str, *, as_json: bool) -> None:
    """Prints the document as JSON, or else the words."""
    print(json.dumps(document, default=_json_form, ensure_ascii=False) if as_json else human)


def confirm(question: str, *, yes: bool) -> bool:
    """Asks. Raises UserMistake where nobody can answer and `--yes` was not given."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserMistake("This asks before it acts, and there is no terminal.", hint="Add --yes.")
    return typer.confirm(question, default=False, err=True)


def _json_form(value: object) -> str | None:
    if isinstance(value, datetime):
        return format_instant(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows as aligned lines; what a source may have smuggled in is made harmless."""
    cells = [[shown(cell) for cell in row] for row in rows]
    cells = [[*(_cut(cell) for cell in row[:-1]), row[-1]] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in cells)
    return "\n".join((indent + line).rstrip() for line in lines)


def shown(text: str) -> str:
    """The text without characters that would move the cursor or end the line."""
    return "".join(c if c.isprintable() else "·" for c in text)


def clock(instant: datetime | None, now: datetime) -> str:
    """An instant in this machine's zone: the time alone where it is today."""
    if instant is None:
        return ""
    local = instant.astimezone()
    form = "%H:%M:%S" if local.date() == now.astimezone().date() else "%Y-%m-%d %H:%M"
    return local.strftime(form)


def difference(field: str, diff: dict[str, Any]) -> str:
    """A field that differs, as old → new."""
    old, new = (value_or_dash(value) for value in diff[field])
    return f"{old} → {new}"


def _cut(cell: str) -> str:
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…"


def named(ids: list[str] | None, *, everything: bool) -> list[str] | None:
    """The names given, None for all. Raises UserMistake for neither and for both."""
    if everything == bool(ids):
        raise UserMistake("Name contracts by id or reference, or else add --all.")
    return None if everything else ids


def are(count: int) -> str:
    """So many contracts, as a sentence begins."""
    return format_count(count, "contract is", "contracts are") if count else "No contract is"


def stay(count: int) -> str:
    """So many others, in the middle of a text."""
    return format_count(count, "stays as it is", "stay as they are")


@contextmanager
def delivering(state: Database) -> Iterator[Callable[[], None]]:
    """Yields what is to be called now and then while contracts are delivered."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # only where there is a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")
        began, total, looked_at = time.monotonic(), 0, 0.0

        def show() -> None:
            nonlocal began, total, looked_at
            now = time.monotonic()
            if now - looked_at < REFRESH_SECONDS:
                return
            looked_at = now
            with state.read() as tx:
                left = outbox.count_left(tx, utc_now())
            if not total:
                began = now
            total = max(total, left)
            done = total - left
            bar.update(
                task,
                description=f"{done:,} of {total:,}",
                total=total,
                completed=done,
                rate=f"{done / (now - began):,.0f}/s" if done else "",
            )

        yield show
