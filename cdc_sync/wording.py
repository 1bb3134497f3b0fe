"""How counts, problems, instants, durations and fields are written, for people and for JSON."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import overload

FIELDS = ("reference", "account", "start", "end", "description")  # as people think of a contract
#: of a length of time: up to how many seconds a unit serves, its seconds, and its name
_UNITS = ((0.9995, 0.001, "ms"), (100, 1.0, "s"), (5400, 60.0, "min"), (172_800, 3600.0, "h"))


def format_count(count: int, one: str, many: str | None = None) -> str:
    """Returns a number with its noun: "1 row", "12,431 rows"; `many` where an s is not enough."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def format_balance(rows: int, counts: Mapping[str, int], unexplained: int) -> str:
    """Returns in one line how rows are accounted for by statuses."""
    # What people have accepted is rare, and is named where there is any.
    shown = {name: count for name, count in counts.items() if count or name != "accepted"}
    parts = " + ".join(f"{count:,} {name}" for name, count in shown.items())
    return f"{format_count(rows, 'row')} = {parts}; unexplained {unexplained:,}"


def format_problems(problems: Iterable[Mapping[str, str] | tuple[str, str]] | None) -> str:
    """Returns what is wrong with a contract in one line: "account: too long; end: no date".

    A problem is a field and a message, as a pair or as it is stored; some concern no field.
    """
    pairs = (
        (found["field"], found["message"]) if isinstance(found, Mapping) else found
        for found in problems or ()
    )
    return "; ".join(f"{field}: {message}" if field else message for field, message in pairs)


def sort_fields(fields: Iterable[str]) -> list[str]:
    """Returns a payload's fields in the order in which people think of them."""
    return sorted(fields, key=lambda name: FIELDS.index(name) if name in FIELDS else len(FIELDS))


def value_or_dash(value: str | None) -> str:
    """Returns a field's value, or a dash for none."""
    return "—" if value is None or value == "" else value


def format_seconds(seconds: float | None) -> str:
    """Returns a length of time in the unit that people would choose: "87 s", "2.5 h"."""
    if seconds is None:
        return "—"
    for limit, divisor, unit in _UNITS:
        if seconds < limit:
            length = seconds / divisor
            return f"{length:.{1 if length < 10 and divisor >= 1 else 0}f} {unit}"
    return f"{seconds / 86400:.1f} d"


@overload
def format_instant(value: datetime | str, precision: str = "auto") -> str: ...
@overload
def format_instant(value: None, precision: str = "auto") -> None: ...
@overload
def format_instant(value: datetime | str | None, precision: str = "auto") -> str | None: ...
def format_instant(value: datetime | str | None, precision: str = "auto") -> str | None:
    """Returns an instant as JSON documents have it, RFC 3339 in UTC with a Z; None for None."""
    if value is None:
        return None
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return instant.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
