"""The watermark as people see it, and as they move it by hand.

A move is planned first, so that a person sees what it would read again, and then applied.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.config.units import parse_duration
from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import SourceUnavailable, UserMistake
from cdc_sync.operations.status import watermark_document
from cdc_sync.rules.watermark import (
    Horizon,
    Watermark,
    WatermarkType,
    move_back,
    parse_watermark,
    parse_whole_number,
    write_watermark,
)
from cdc_sync.source.horizon import read_horizon
from cdc_sync.source.reader import source_of
from cdc_sync.state import control, watermark
from cdc_sync.state.database import Database
from cdc_sync.state.values import HorizonReport

_ANOTHER_ZONE = ZoneInfo("Etc/GMT+12")


def show_watermark(state: Database) -> dict[str, Any]:
    """Returns `watermark show --json`, key for key."""
    with state.read() as tx:
        known = watermark.read(tx)
        horizon = control.load(tx, HorizonReport) or HorizonReport()
    return {**watermark_document(known, horizon), "moved_at": known.moved_at}


def list_moves(state: Database, limit: int) -> dict[str, Any]:
    """Returns `watermark history --json`, key for key, the newest move first."""
    with state.read() as tx:
        return {"moves": watermark.history(tx, limit)}


@dataclass(frozen=True, slots=True)
class WatermarkContext:
    """The stored watermark and what the source says; `horizon` is None while it is away."""

    known: Watermark
    type: WatermarkType | None
    zone: ZoneInfo
    horizon: Horizon | None


Target: TypeAlias = Callable[[WatermarkContext], WatermarkValue | None]


@dataclass(frozen=True, slots=True)
class Move:
    """A planned move; `rows` is how many rows would be read again.

    `rows` is None where the source could not be asked, and `unasked` says why.
    """

    kind: str
    known: Watermark
    to: WatermarkValue | None
    type: WatermarkType | None
    zone: ZoneInfo
    rows: int | None = None
    unasked: str | None = None

    @property
    def goes_forward(self) -> bool:
        """Whether it passes rows that no poll may have read yet."""
        return self.to is not None and is_beyond(self.to, self.known.value)

    def document(self, version: int) -> dict[str, Any]:
        """Returns the applied move as JSON."""
        return {
            "kind": self.kind,
            "from": write_watermark(self.known.value),
            "to": write_watermark(self.to),
            "rows": self.rows,
            "version": version,
        }


def plan_move(config: Config, state: Database, kind: str, target: Target) -> Move:
    """Returns the move to a target. Raises UserMistake where it makes no sense.

    A source that cannot be asked prevents a move only where it alone knows the answer.
    """
    with state.read() as tx:
        known = watermark.read(tx)
        carry_over = watermark.load_carry_over(tx)
    try:
        with closing(source_of(config)) as source, source.scan() as scan:
            horizon = read_horizon(scan, carry_over, utc_now())
            context = WatermarkContext(known, scan.column.type, scan.zone, horizon)
            to = target(context)
            return Move(kind, known, to, context.type, context.zone, scan.count_from(to))
    except SourceUnavailable as error:
        context = WatermarkContext(known, known.type, ZoneInfo("UTC"), None)
        to = target(context)
        return Move(kind, known, to, context.type, context.zone, unasked=error.message)
    except OverflowError:
        raise UserMistake("So far back or ahead the watermark cannot go.") from None


def apply_move(state: Database, move: Move, who: str, reason: str | None, now: datetime) -> int:
    """Moves the watermark and returns its new version; a poll that is running then gives way."""
    with state.begin() as tx:
        moved = watermark.move(
            tx, move.to, type_=move.type, kind=move.kind, who=who, reason=reason, now=now
        )
    return moved.version


def to_value(text: str, *, force: bool) -> Target:
    """Returns the target that a person writes; beyond the horizon only with `force`."""

    def target(context: WatermarkContext) -> WatermarkValue:
        value = _parse(text, context)
        _expect_not_future(value, context)
        if not force:
            _expect_within_horizon(value, context)
        return value

    return target


def back_by(text: str) -> Target:
    """Returns the target that lies a duration, or a number, before the watermark."""

    def target(context: WatermarkContext) -> WatermarkValue:
        value = context.known.value
        if value is None:
            raise UserMistake(
                "There is no watermark yet to go back from: the next poll reads everything."
            )
        if (context.type is WatermarkType.INTEGER) != isinstance(value, int):
            raise UserMistake(
                "The watermark column has changed its type since the watermark was stored.",
                hint="Run: cdc-sync watermark reset",
            )
        return move_back(value, _parse_amount(text))

    return target


def to_nothing(_context: WatermarkContext) -> None:
    """The target of a reset, no watermark: everything is read once more."""


def _parse_amount(text: str) -> int | timedelta:
    try:
        number = parse_whole_number(text) if text.isdecimal() else None
        amount = parse_duration(text) if number is None else number
    except ValueError as error:
        raise UserMistake(str(error)) from None
    if not amount:
        raise UserMistake(f"By {text} it does not move: give more than nothing.")
    return amount


def _parse(text: str, context: WatermarkContext) -> WatermarkValue:
    if context.type is None:
        raise UserMistake(
            "There is no watermark yet, and the source, which says what its column holds,"
            " cannot be asked now."
        )
    value = parse_watermark(text, context.type, context.zone)
    # A text without zone means another instant in another zone.
    if context.horizon is None and value != parse_watermark(text, context.type, _ANOTHER_ZONE):
        raise UserMistake(
            "The source cannot be asked now in which zone its times are.",
            hint="Write the value with its zone, as 2026-11-23T12:00:00Z.",
        )
    return value


def _expect_not_future(value: WatermarkValue, context: WatermarkContext) -> None:
    if isinstance(value, datetime) and context.horizon and value > context.horizon.clock:
        raise UserMistake(
            f"{write_watermark(value)} lies in the future: the source's clock says"
            f" {write_watermark(context.horizon.clock)}, and changes until then would be missed."
        )


def _expect_within_horizon(value: WatermarkValue, context: WatermarkContext) -> None:
    horizon = None if context.horizon is None else context.horizon.value
    # Back from where it stands is always safe, also while nobody can say where the horizon is.
    if not is_beyond(value, context.known.value) or not is_beyond(value, horizon):
        return
    raise UserMistake(
        f"{write_watermark(value)} lies beyond the horizon"
        f" ({write_watermark(horizon) or 'not known now'}): rows before it that are committed late"
        " would be missed until the next reconcile.",
        hint="If that is meant, add --force.",
    )


def is_beyond(value: WatermarkValue, other: WatermarkValue | None) -> bool:
    """Whether a watermark lies beyond another; True as well where the two do not compare."""
    if isinstance(value, datetime) and isinstance(other, datetime):
        return value > other
    if isinstance(value, int) and isinstance(other, int):
        return value > other
    return True
