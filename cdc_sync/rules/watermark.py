"""How far the watermark may move: the horizon, computed from what the source says of itself.

A transaction stamps its rows when it begins and shows them when it commits. The horizon lies
before the begin of everything that may still commit, so a watermark that never passes it misses
nothing. Here are also a person's moves and how a watermark is written.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import UserMistake
from cdc_sync.wording import format_instant

_EARLIEST = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)  # a zone can still be applied


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

    def is_later_than(self, clock: datetime) -> bool:
        """Whether it lies in the future of the source: polls would see nothing until then."""
        return isinstance(self.value, datetime) and self.value > clock

    def fits(self, type_: WatermarkType) -> bool:
        """Whether it compares with the values of a column of this type."""
        return (self.type is WatermarkType.INTEGER) == (type_ is WatermarkType.INTEGER)


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that may still commit. `started` None: prepared, its start is not known.

    `key` is another one as soon as it is another transaction, or has left its session.
    """

    key: str
    who: str
    started: datetime | None


@dataclass(frozen=True, slots=True)
class TransactionSnapshot:
    """The open transactions of the source before a scan, or in `unavailable_reason` why not.

    `clock` was read no later than the transactions. `server` tells one server from the next, where
    the same one is meant to answer each time.
    """

    clock: datetime
    unfinished: tuple[OpenTransaction, ...] = ()
    server: str | None = None
    unavailable_reason: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class ExactHorizon:
    """A number below which everything is committed, as the database itself says; `clock` before."""

    number: int
    clock: datetime
    server: str | None = None


@dataclass(frozen=True, slots=True)
class HorizonState:
    """What the next horizon needs of the last one.

    `value` is the last horizon, `bounds` what each prepared transaction cannot have begun before;
    `clock` (the source's) and `ours` were read at the same moment.
    """

    value: datetime | None
    bounds: Mapping[str, datetime]
    server: str | None
    clock: datetime
    ours: datetime


@dataclass(frozen=True, slots=True)
class HorizonEstimate:
    """Estimated horizon. `value` is None until the source can tell.

    `ahead` is the horizon that there would be without `holders`: the long transactions and the
    prepared ones. `source_changed`: another server answers, or the source's clock was set back,
    so the horizon begins anew.
    """

    value: datetime | None
    ahead: datetime
    state: HorizonState
    holders: tuple[OpenTransaction, ...] = ()
    source_changed: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """The greatest value of an integer column, and an instant of the source's clock after it."""

    value: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Samples:
    """Two samples of an integer column: one behind every open transaction, one ignoring long ones.

    A number has an order but no clock: it becomes the horizon once the horizon in time is past it.
    """

    all: Sample | None = None
    young: Sample | None = None


@dataclass(frozen=True, slots=True)
class CarryOver:
    """What one horizon leaves for the next."""

    state: HorizonState | None = None
    samples: Samples = Samples()


@dataclass(frozen=True, slots=True)
class Horizon:
    """The horizon of a scan that has not begun, in the watermark column's own values.

    `value` is what the watermark may be moved to and never past (None: nowhere yet); `clock` the
    source's own time, `taken_at` ours then; `basis` "horizon" or "lookback", with `reason` and
    `hint` where it is not the first. `ahead` is how far a poll may read and need not come back as
    long as every one of `holders`, by key, is there. `source_changed` as in the estimate.
    """

    value: WatermarkValue | None
    clock: datetime
    basis: str
    reason: str | None = None
    hint: str | None = None
    ahead: WatermarkValue | None = None
    holders: tuple[OpenTransaction, ...] = ()
    carry_over: CarryOver = CarryOver()
    source_changed: bool = False
    taken_at: datetime | None = None

    @property
    def held_back_by(self) -> str | None:
        """Who keeps the watermark from moving on, in words."""
        if not self.holders:
            return None
        oldest = min(self.holders, key=lambda one: one.started or _EARLIEST)
        more = len(self.holders) - 1
        return oldest.who + (f", and {more} more" if more else "")


@dataclass(frozen=True, slots=True)
class ReadTo:
    """How far polls have read, as of a watermark version, while these transactions are open."""

    value: WatermarkValue
    version: int
    holders: frozenset[str] = frozenset()

    def still_holds(self, known: Watermark, horizon: Horizon) -> bool:
        """Whether nothing can have committed behind it: each of the holders is still there."""
        if horizon.source_changed or self.version != known.version:
            return False
        return self.holders <= {one.key for one in horizon.holders}


def next_watermark(
    current: WatermarkValue | None, page_end: WatermarkValue | None, horizon: Horizon, *, last: bool
) -> WatermarkValue | None:
    """Returns how far the watermark may move after a page: never past the horizon, never back.

    After the last page that is the horizon itself, so that a bulk update of a million rows with
    one timestamp is not read again at every idle poll; before, the page's end.
    """
    to = horizon.value
    if not last:
        to = None if page_end is None or to is None else _lesser(page_end, to)
    return current if to is None or (current is not None and is_before(to, current)) else to


def _lesser(one: WatermarkValue, other: WatermarkValue) -> WatermarkValue:
    return one if is_before(one, other) else other


def compute_horizon(
    snapshot: TransactionSnapshot,
    state: HorizonState | None,
    *,
    ours: datetime,
    margin: timedelta,
    lookback: timedelta,
    long_after: timedelta,
) -> HorizonEstimate:
    """Computes the horizon from the open transactions, or `lookback` behind the clock without.

    `ours` is our own clock now; `margin` is how far clocks may differ.
    """
    changed = state is not None and _is_another_source(snapshot, state, ours, margin)
    before = None if state is None or changed else state.value
    server = snapshot.server or (None if state is None else state.server)
    if snapshot.unavailable_reason is not None:
        bounds = {} if state is None else state.bounds
        behind = snapshot.clock - lookback
        kept = HorizonState(before, bounds, server, snapshot.clock, ours)
        return HorizonEstimate(behind, behind, kept, source_changed=changed)
    prepared = [one.key for one in snapshot.unfinished if one.started is None]
    started = [one for one in snapshot.unfinished if one.started is not None]
    long = [one for one in started if _start(one) < snapshot.clock - long_after]
    candidate = _earliest(snapshot.clock, started) - margin
    bounds = _bounds(prepared, state, before, candidate - lookback)
    value = before
    if len(bounds) == len(prepared):
        value = _latest(before, min([candidate, *bounds.values()]))
    young = [one for one in started if one not in long]
    return HorizonEstimate(
        value,
        _latest(before, _earliest(snapshot.clock, young) - margin),
        HorizonState(value, bounds, server, snapshot.clock, ours),
        tuple(one for one in snapshot.unfinished if one.started is None or one in long),
        changed,
    )


def _is_another_source(
    snapshot: TransactionSnapshot, state: HorizonState, ours: datetime, margin: timedelta
) -> bool:
    """Whether another server answers, or its clock was set back or has fallen behind ours."""
    if None not in (snapshot.server, state.server) and snapshot.server != state.server:
        return True
    # No time passes backwards, whatever our own clock says: where both are one, it was set back.
    passed = max(ours - state.ours, timedelta())
    return passed - (snapshot.clock - state.clock) > margin / 2


def _bounds(
    prepared: list[str],
    state: HorizonState | None,
    before: datetime | None,
    after_change: datetime,
) -> dict[str, datetime]:
    """Returns what each prepared transaction cannot have begun before, where that is known.

    It is the horizon at which the transaction was first seen, and stays that.
    """
    if state is None:
        return {}
    if before is None and state.value is not None:
        before = min(state.value, after_change)  # it may be of the time before the fail-over
    bounds = {key: state.bounds.get(key, before) for key in prepared}
    return {key: bound for key, bound in bounds.items() if bound is not None}


def _start(one: OpenTransaction) -> datetime:
    assert one.started is not None  # noqa: S101
    return one.started


def _earliest(clock: datetime, started: list[OpenTransaction]) -> datetime:
    return min([clock, *map(_start, started)])


def _latest(before: datetime | None, value: datetime) -> datetime:
    return value if before is None else max(before, value)


def lag_seconds(
    read_to: WatermarkValue | None, clock: datetime | None, taken_at: datetime | None, now: datetime
) -> float | None:
    """Returns how far polls that have read up to a value are behind the source's clock by now.

    The source's clock was `clock` when ours was `taken_at`. None for numbers, which have no clock.
    """
    if not isinstance(read_to, datetime) or clock is None:
        return None
    passed = max(timedelta(), now - (taken_at or clock))
    return max(0.0, round((clock - read_to + passed).total_seconds(), 3))


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


def move_back(value: WatermarkValue, by: timedelta | int) -> WatermarkValue:
    """Returns the watermark moved back by a duration, or by a number where it is a number.

    Raises UserMistake where the two do not fit together.
    """
    if isinstance(value, datetime) and isinstance(by, timedelta):
        return value - min(by, value - _EARLIEST)
    if isinstance(value, int) and isinstance(by, int):
        return value - by
    wanted = "a number, as in: 5000" if isinstance(value, int) else "a duration, as in: 2h"
    raise UserMistake(f"The watermark goes back by {wanted}.")


def parse_whole_number(text: str) -> int | None:
    """Returns a text as a number of eight bytes, as databases hold them; None for any other."""
    number = int(text) if re.fullmatch(r"-?[0-9]{1,19}", text.strip()) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def parse_watermark(text: str, type_: WatermarkType, zone: ZoneInfo) -> WatermarkValue:
    """Reads a value as a person writes it; a time without zone is in the watermark column's `zone`.

    Raises UserMistake in words.
    """
    if type_ is WatermarkType.INTEGER:
        number = parse_whole_number(text)
        if number is None:
            raise UserMistake(
                f"{text!r} is not a whole number, and the watermark column holds them."
            )
        return number
    try:
        value = datetime.fromisoformat(text.strip())
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserMistake(
            f"{text!r} is not a time.", hint="Write it as 2026-11-23T12:00:00Z."
        ) from None


def write_watermark(value: WatermarkValue | None) -> str | None:
    """Returns the value as the state and JSON hold it: RFC 3339 in UTC, or the number's digits."""
    if isinstance(value, datetime):
        return format_instant(value)
    return None if value is None else str(value)


def read_watermark(text: str | None, type_: WatermarkType | None) -> WatermarkValue | None:
    """Reads what `write_watermark` wrote."""
    if text is None:
        return None
    return int(text) if type_ is WatermarkType.INTEGER else datetime.fromisoformat(text)
