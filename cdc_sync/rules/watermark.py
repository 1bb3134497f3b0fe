"""Watermark arithmetic: how far it may move, how a person moves it, how it is written."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import UserMistake
from cdc_sync.rules.horizon import Memory, Unfinished

_FIRST = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)  # a zone can still be applied


class WatermarkType(StrEnum):
    """What the watermark column holds."""

    TIMESTAMPTZ = "timestamptz"  #: an instant
    TIMESTAMP = "timestamp"  #: a wall-clock time in the source's zone
    DATE = "date"  #: a day in the source's zone
    INTEGER = "integer"  #: a number that grows with every change


@dataclass(frozen=True, slots=True)
class Watermark:
    """The stored watermark; every move makes `version` one greater."""

    value: WatermarkValue | None
    type: WatermarkType | None
    version: int
    moved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pair:
    """An integer column's greatest value, and an instant of the source's clock read after it."""

    value: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Pairs:
    """What an integer column remembers: its pair, and the one that long transactions leave out."""

    all: Pair | None = None
    young: Pair | None = None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What one horizon leaves for the next."""

    memory: Memory | None = None
    pairs: Pairs = Pairs()


@dataclass(frozen=True, slots=True)
class Horizon:
    """What the source says before a scan, in the watermark column's own values.

    `value` is what the watermark may be moved to and never past (None: nowhere yet); `clock` the
    source's own time; `basis` the rung in force, "horizon" or "lookback", with `reason` and
    `mend` where it is not the first. `ahead` is how far a poll may read and need not come back as
    long as every one of `holders`, by key, is there. `remembered` is for the next one;
    `afresh`: the source is another one, or its clock was set back.
    """

    value: WatermarkValue | None
    clock: datetime
    basis: str
    reason: str | None = None
    mend: str | None = None
    ahead: WatermarkValue | None = None
    holders: tuple[Unfinished, ...] = ()
    remembered: Remembered = Remembered()
    afresh: bool = False

    @property
    def held_back_by(self) -> str | None:
        """Who keeps the watermark from moving on, in words."""
        if not self.holders:
            return None
        oldest = min(self.holders, key=lambda one: one.started or _FIRST)
        more = len(self.holders) - 1
        return oldest.who + (f", and {more} more" if more else "")


@dataclass(frozen=True, slots=True)
class ReadTo:
    """How far polls have read, as of a watermark version, while these transactions are there."""

    value: WatermarkValue
    version: int
    holders: frozenset[str] = frozenset()

    def still_holds(self, known: Watermark, horizon: Horizon) -> bool:
        """Whether nothing can have committed behind it: each of the holders is still there."""
        present = {one.key for one in horizon.holders}
        return self.version == known.version and not horizon.afresh and self.holders <= present


def reached(
    current: WatermarkValue | None, page_end: WatermarkValue | None, horizon: Horizon, *, last: bool
) -> WatermarkValue | None:
    """How far the watermark may move after a page: never past the horizon, never back.

    After the last page that is the horizon itself, so that a bulk update of a million rows with
    one timestamp is not read again at every idle poll; before, the page's end.
    """
    to = horizon.value if last else _earlier(page_end, horizon.value)
    return current if to is None or (current is not None and is_before(to, current)) else to


def _earlier(one: WatermarkValue | None, other: WatermarkValue | None) -> WatermarkValue | None:
    if one is None or other is None:
        return None
    return one if is_before(one, other) else other


def is_before(one: WatermarkValue, other: WatermarkValue) -> bool:
    """Whether a watermark lies before another. Raises UserMistake where they do not compare."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one < other
    if isinstance(one, int) and isinstance(other, int):
        return one < other
    raise UserMistake(
        "The watermark column has changed its type since the watermark was stored.",
        mend="Run: cdc-sync watermark reset",
    )


def rewound(value: WatermarkValue, by: timedelta | int) -> WatermarkValue:
    """The watermark moved back by a duration, or by a number where it is a number.

    Raises UserMistake where the two do not fit together.
    """
    if isinstance(value, datetime) and isinstance(by, timedelta):
        return value - min(by, value - _FIRST)
    if isinstance(value, int) and isinstance(by, int):
        return value - by
    wanted = "a number, as in: 5000" if isinstance(value, int) else "a duration, as in: 2h"
    raise UserMistake(f"The watermark goes back by {wanted}.")


def parse_watermark(text: str, type_: WatermarkType, zone: ZoneInfo) -> WatermarkValue:
    """A value as a person writes it; a time without zone is in the watermark column's `zone`.

    Raises UserMistake in words.
    """
    if type_ is WatermarkType.INTEGER:
        if not re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
            raise UserMistake(
                f"{text!r} is not a whole number, and the watermark column holds them."
            )
        return int(text)
    try:
        value = datetime.fromisoformat(text.strip())
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserMistake(
            f"{text!r} is not a time.", mend="Write it as 2026-11-23T12:00:00Z."
        ) from None


def write_watermark(value: WatermarkValue | None) -> str | None:
    """The value as the state and JSON hold it: RFC 3339 in UTC, or the number's digits."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return None if value is None else str(value)


def read_watermark(text: str | None, type_: WatermarkType | None) -> WatermarkValue | None:
    """The reverse of `write_watermark`."""
    if text is None:
        return None
    return int(text) if type_ is WatermarkType.INTEGER else datetime.fromisoformat(text)
