"""Watermark arithmetic: how far it may move, how a person moves it, how it is written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import UserMistake
from cdc_sync.wording import format_instant

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
class Memory:
    """What a later horizon must know of the ones before.

    `value` is the last horizon, `bounds` what each prepared transaction cannot have begun before;
    `clock` and `ours` are the two clocks at one moment.
    """

    value: datetime | None
    bounds: Mapping[str, datetime]
    server: str | None
    clock: datetime
    ours: datetime


@dataclass(frozen=True, slots=True)
class Remembered:
    """What one horizon leaves for the next."""

    memory: Memory | None = None
    pairs: Pairs = Pairs()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A transaction that may still commit. `started` None: prepared, its start is not known.

    `key` is another one as soon as it is another transaction, or has left its session.
    """

    key: str
    who: str
    started: datetime | None


@dataclass(frozen=True, slots=True)
class Horizon:
    """What the source says before a scan, in the watermark column's own values.

    `value` is what the watermark may be moved to and never past (None: nowhere yet); `clock` the
    source's own time; `basis` the rung in force, "horizon" or "lookback", with `reason` and
    `hint` where it is not the first. `ahead` is how far a poll may read and need not come back as
    long as every one of `holders`, by key, is there. `remembered` is for the next one;
    `afresh`: the source is another one, or its clock was set back.
    """

    value: WatermarkValue | None
    clock: datetime
    basis: str
    reason: str | None = None
    hint: str | None = None
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
        hint="Run: cdc-sync watermark reset",
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
            f"{text!r} is not a time.", hint="Write it as 2026-11-23T12:00:00Z."
        ) from None


def write_watermark(value: WatermarkValue | None) -> str | None:
    """The value as the state and JSON hold it: RFC 3339 in UTC, or the number's digits."""
    if isinstance(value, datetime):
        return format_instant(value)
    return None if value is None else str(value)


def read_watermark(text: str | None, type_: WatermarkType | None) -> WatermarkValue | None:
    """The reverse of `write_watermark`."""
    if text is None:
        return None
    return int(text) if type_ is WatermarkType.INTEGER else datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Glance:
    """What the source said, before a scan, of what is unfinished; in `blind` why it cannot say.

    `clock` was read no later than the transactions. `server` tells one server from the next, where
    the same one is meant to answer each time.
    """

    clock: datetime
    unfinished: tuple[Unfinished, ...] = ()
    server: str | None = None
    blind: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """How far one can see: `value` None means nowhere yet.

    `ahead` is the horizon that there would be without `holders`: the long transactions and the
    prepared ones. `afresh`: another server, or a clock set back, made the horizon begin anew.
    """

    value: datetime | None
    ahead: datetime
    memory: Memory
    holders: tuple[Unfinished, ...] = field(default=())
    afresh: bool = False


def look(
    glance: Glance,
    memory: Memory | None,
    *,
    ours: datetime,
    margin: timedelta,
    lookback: timedelta,
    long_after: timedelta,
) -> Sight:
    """The horizon from a glance. A source that is blind is looked back at, `lookback` far."""
    afresh = memory is not None and _is_another(glance, memory, ours, margin)
    before = None if memory is None or afresh else memory.value
    server = glance.server or (None if memory is None else memory.server)
    if glance.blind is not None:
        bounds = {} if memory is None else memory.bounds
        kept = Memory(before, bounds, server, glance.clock, ours)
        behind = glance.clock - lookback
        return Sight(behind, behind, kept, afresh=afresh)
    prepared = [one.key for one in glance.unfinished if one.started is None]
    started = [one for one in glance.unfinished if one.started is not None]
    long = [one for one in started if _start(one) < glance.clock - long_after]
    candidate = _earliest(glance.clock, started) - margin
    bounds = _bounds(prepared, memory, before, candidate - lookback)
    value = before
    if len(bounds) == len(prepared):
        value = _latest(before, min([candidate, *bounds.values()]))
    young = [one for one in started if one not in long]
    return Sight(
        value,
        _latest(before, _earliest(glance.clock, young) - margin),
        Memory(value, bounds, server, glance.clock, ours),
        tuple(one for one in glance.unfinished if one.started is None or one in long),
        afresh,
    )


def _is_another(glance: Glance, memory: Memory, ours: datetime, margin: timedelta) -> bool:
    """Whether another server answers, or its clock has fallen behind ours."""
    if None not in (glance.server, memory.server) and glance.server != memory.server:
        return True
    return (ours - memory.ours) - (glance.clock - memory.clock) > margin / 2


def _bounds(
    prepared: list[str], memory: Memory | None, before: datetime | None, afresh: datetime
) -> dict[str, datetime]:
    """What each prepared transaction keeps from its first glance on; none where nobody can say."""
    if memory is None:
        return {}
    if before is None and memory.value is not None:
        before = min(memory.value, afresh)  # it may be of the time before the fail-over
    bounds = {key: memory.bounds.get(key, before) for key in prepared}
    return {key: bound for key, bound in bounds.items() if bound is not None}


def _start(one: Unfinished) -> datetime:
    assert one.started is not None  # noqa: S101
    return one.started


def _earliest(clock: datetime, started: list[Unfinished]) -> datetime:
    return min([clock, *map(_start, started)])


def _latest(before: datetime | None, value: datetime) -> datetime:
    return value if before is None else max(before, value)
