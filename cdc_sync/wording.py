"""How counts, problems, instants and field values are written for people and for JSON."""

from collections.abc import Iterable
from datetime import UTC, datetime

FIELDS = ("account", "start", "end", "description")  # as people think of a contract


def counted(count: int, noun: str) -> str:
    """So many of something: "1 row", "12,431 rows"."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def reasons(problems: list[dict[str, str]] | None) -> str:
    """Why a contract is refused, in one line."""
    found = [
        f"{problem['field']}: {problem['message']}" if problem["field"] else problem["message"]
        for problem in problems or ()
    ]
    return "; ".join(found)


def in_order(fields: Iterable[str]) -> list[str]:
    """A payload's fields in the order in which people think of them."""
    return sorted(fields, key=FIELDS.index)


def value_or_dash(value: str | None) -> str:
    """A field's value; a dash for none."""
    return "—" if value is None or value == "" else value


def rfc3339(value: datetime | str | None) -> str | None:
    """An instant as JSON documents say it, in UTC with a Z; None stays None."""
    if value is None:
        return None
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
