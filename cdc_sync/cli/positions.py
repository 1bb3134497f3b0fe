"""The watermark in words: where it stands, what a move would mean, who moved it."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cdc_sync.cli.words import clock, table
from cdc_sync.config.units import format_duration

if TYPE_CHECKING:
    from cdc_sync.moves import Move

_AGAIN = "only what differs is sent. To send again what does not differ: contracts resend"
_KEPT = "references and acknowledged payloads stay; nothing is sent that does not differ."


def described(document: dict[str, Any], now: datetime) -> str:
    """`watermark show` for people."""
    if document["value"] is None:
        return "There is no watermark yet: the next poll reads everything."
    reason = f": {document['basis_reason']}" if document["basis_reason"] else ""
    return table(
        [
            ("watermark", f"{document['value']} ({document['type']})"),
            ("moved", f"{clock(document['moved_at'], now)} (version {document['version']})"),
            ("horizon", f"{document['horizon'] or 'not known'} ({document['basis']}{reason})"),
        ]
    )


def proposed(move: "Move") -> str:
    """From where to where, and what is read again."""
    start, end = (written(value, move.zone) for value in (move.known.value, move.to))
    return f"from {start} to {end}{_distance(move)}\n{_meaning(move)}"


def history_lines(document: dict[str, Any], now: datetime) -> str:
    """`watermark history` for people."""
    if not document["moves"]:
        return "Nobody has moved it by hand."
    return table(
        [
            (
                clock(move["at"], now),
                move["who"],
                move["kind"],
                f"{move['from'] or 'none'} → {move['to'] or 'none'}",
                move["reason"] or "",
            )
            for move in document["moves"]
        ]
    )


def written(value: object, zone: ZoneInfo) -> str:
    """A watermark in its column's zone."""
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(sep=" ", timespec="seconds")
    return "none" if value is None else str(value)


def _distance(move: "Move") -> str:
    before, after = move.known.value, move.to
    if move.kind != "rewind":
        return ""
    if isinstance(before, datetime) and isinstance(after, datetime):
        return f" ({format_duration(before - after)} before where it stands)"
    return f" ({before - after} before where it stands)"  # type: ignore[operator]  # two numbers


def _meaning(move: "Move") -> str:
    if move.rows is None:
        rows = f"The source cannot be asked how many rows are read again ({move.unasked})"
        return f"{rows.rstrip('.')}; {_KEPT if move.to is None else _AGAIN}"
    count = "1 row is" if move.rows == 1 else f"{move.rows:,} rows are"
    if move.to is None:
        return f"{'The' if move.rows == 1 else 'All'} {count} read once more; {_KEPT}"
    ahead = "\nIt goes forward: what changed before it and is not read yet waits for a reconcile."
    return f"{count} read again; {_AGAIN}{ahead if move.goes_forward else ''}"
