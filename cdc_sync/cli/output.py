"""How commands speak: sentences on a terminal, one JSON document with --json, questions."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from cdc_sync.errors import UserMistake
from cdc_sync.wording import format_count, format_instant, sort_fields, value_or_dash

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Source ids or references.")]
All = Annotated[bool, typer.Option("--all", help="All contracts.")]
WIDEST = 60  # characters of a cell that is not the last of its line


def emit(document: Any, text: str, *, as_json: bool, ok: bool = True) -> None:
    """Prints the document as JSON, or else the text; ends with exit code 1 unless `ok`."""
    print(json.dumps(document, default=_json_form, ensure_ascii=False) if as_json else text)
    if not ok:
        raise typer.Exit(1)


def _json_form(value: object) -> str:
    if isinstance(value, datetime):
        return format_instant(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def confirm(
    question: str, *, yes: bool, as_json: bool = False, declined: str = "Nothing was changed."
) -> None:
    """Asks unless `yes`; ends with `declined` and exit code 1 where the answer is no.

    Raises UserMistake where nobody can answer and `--yes` was not given.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserMistake("This asks before it acts, and there is no terminal.", hint="Add --yes.")
    if not typer.confirm(question, default=False, err=True):
        typer.echo(declined, err=as_json)
        raise typer.Exit(1)


def names_or_all(ids: list[str] | None, *, everything: bool) -> list[str] | None:
    """Returns the names given, None for all. Raises UserMistake for neither and for both."""
    if everything == bool(ids):
        raise UserMistake("Name contracts by id or reference, or else add --all.")
    return None if everything else ids


def describe_due(count: int, names: list[str] | None, why_not: str) -> str:
    """Says how many contracts are due now, and why others of those named are not."""
    due = format_count(count, "contract is", "contracts are") if count else "No contract is"
    others = 0 if names is None else len(set(names)) - count
    if others <= 0:
        return f"{due} due now."
    return f"{due} due now. {count_unchanged(others)}: {why_not}."


def count_unchanged(count: int) -> str:
    """Returns how many stay as they are, in the middle of a text."""
    return format_count(count, "stays as it is", "stay as they are")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as aligned lines; characters that could harm a terminal are replaced."""
    cells = [[printable(cell) for cell in row] for row in rows]
    cells = [[*(_cut(cell) for cell in row[:-1]), row[-1]] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in cells)
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _cut(cell: str) -> str:
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…"


def printable(text: str) -> str:
    """Returns the text without characters that would move the cursor or end the line."""
    return "".join(c if c.isprintable() else "·" for c in text)


def format_clock(instant: datetime | None, now: datetime) -> str:
    """Returns an instant in this machine's zone: the time alone where it is today."""
    if instant is None:
        return ""
    local = instant.astimezone()
    form = "%H:%M:%S" if local.date() == now.astimezone().date() else "%Y-%m-%d %H:%M"
    return local.strftime(form)


def format_change(change: Sequence[str | None]) -> str:
    """Returns a field that differs, as old → new."""
    old, new = map(value_or_dash, change)
    return f"{old} → {new}"


def format_diff(diff: dict[str, Any]) -> str:
    """Returns all fields that differ in one line; empty for none."""
    return ", ".join(f"{name} {format_change(diff[name])}" for name in sort_fields(diff))


def describe_hold(hold: dict[str, Any], now: datetime) -> str:
    """Says how much is held, why, and shows a few of them."""
    parts = [f"{hold[name]:,} {name}" for name in ("updated", "new", "gone") if hold[name]]
    when = format_clock(datetime.fromisoformat(hold["at"]), now)
    why = (
        f"{format_count(hold['held'], 'contract')} held by the guard."
        f" The {hold['kind']} of {when} would have changed {hold['changes']:,} at once"
        f" ({', '.join(parts)}), of {hold['known']:,} known."
    )
    lines = [why]
    if hold["examples"]:
        lines.append(table([_describe_example(one) for one in hold["examples"]]))
    if hold["held"] > len(hold["examples"]):
        lines.append("  and more: cdc-sync contracts list --status held")
    return "\n".join(lines)


def _describe_example(one: dict[str, Any]) -> tuple[str, str]:
    if one["gone"]:
        return one["reference"] or one["source_id"], "gone from the source"
    before, account = one["diff"].get("account", ("", ""))
    if before is None:
        return one["reference"], f"new: {value_or_dash(account)}"
    return one["reference"], format_diff(one["diff"]) or "as CustomerGauge has it, but in doubt"
