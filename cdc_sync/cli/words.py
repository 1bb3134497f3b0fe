"""Values as a terminal shows them: tables, times, a contract's problems and differences."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cdc_sync.wording import value_or_dash

WIDEST = 60  # characters of a cell that is not the last of its line


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
