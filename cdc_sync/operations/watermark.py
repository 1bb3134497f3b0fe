"""The watermark moved by hand: what a move would mean, told before it is made, and the move."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.config.units import parse_duration
from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import SourceUnavailable, UserMistake
from cdc_sync.rules.mapping import mapped_columns
from cdc_sync.rules.watermark import (
    Horizon,
    Watermark,
    WatermarkType,
    move_back,
    parse_watermark,
    write_watermark,
)
from cdc_sync.source.reader import Scan, Source
from cdc_sync.state import control, watermark
from cdc_sync.state.database import Database
from cdc_sync.state.values import HorizonReport

_NUMBER = re.compile("[0-9]{1,18}")  # what fits every database's integers


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the watermark stands and what the source says; `horizon` is None while it is away."""

    known: Watermark
    type: WatermarkType | None
    zone: ZoneInfo
    horizon: Horizon | None


@dataclass(frozen=True, slots=True)
class Move:
    """A move that waits for a person's yes; `rows` is how many would be read again.

    `rows` is None where the source could not be asked, and `unasked` says why.
    """

    kind: str
    known: Watermark
    to: WatermarkValue | None
    type: WatermarkType | None
    zone: ZoneInfo
    rows: int | None
    unasked: str | None

    @property
    def goes_forward(self) -> bool:
        """Whether it leaves out what no poll may have read yet."""
        return self.to is not None and _greater(self.to, self.known.value)

    def document(self, version: int) -> dict[str, Any]:
        """The move made, as JSON."""
        return {
            "kind": self.kind,
            "from": write_watermark(self.known.value),
            "to": write_watermark(self.to),
            "rows": self.rows,
            "version": version,
        }


Target: TypeAlias = Callable[[Standing], WatermarkValue | None]


def planned(config: Config, state: Database, kind: str, target: Target) -> Move:
    """The move to a target. Raises UserMistake where it makes no sense, and moves nothing.

    A source that cannot be asked is no reason to refuse, but for what only it can say.
    """
    with state.read() as tx:
        known = watermark.read(tx)
        carry_over = watermark.load_carry_over(tx)
    source = Source(config.source, mapped_columns(config.mapping))
    try:
        with source.scan() as scan:
            horizon = scan.horizon(carry_over, utc_now())
            standing = Standing(known, scan.column.type, scan.zone, horizon)
            return _move(kind, standing, target, scan)
    except SourceUnavailable as error:
        standing = Standing(known, known.type, ZoneInfo("UTC"), None)
        return _move(kind, standing, target, error)
    except OverflowError:
        raise UserMistake("So far back or ahead the watermark cannot go.") from None
    finally:
        source.close()


def carry_out(state: Database, move: Move, who: str, reason: str | None, now: datetime) -> int:
    """Makes the move and records it; the watermark's new version. A poll under way heeds it."""
    with state.begin() as tx:
        moved = watermark.move(
            tx, move.to, type_=move.type, kind=move.kind, who=who, reason=reason, now=now
        )
    return moved.version


def to_value(text: str, *, force: bool) -> Target:
    """The watermark that a person writes; beyond the horizon only by `force`."""

    def target(standing: Standing) -> WatermarkValue:
        value = _parsed(text, standing)
        _expect_not_future(value, standing)
        if not force:
            _expect_within_horizon(value, standing)
        return value

    return target


def back_by(text: str) -> Target:
    """So far back from where the watermark stands: a duration, or a number for a number."""

    def target(standing: Standing) -> WatermarkValue:
        value = standing.known.value
        if value is None:
            raise UserMistake(
                "There is no watermark yet to go back from: the next poll reads everything."
            )
        if (standing.type is WatermarkType.INTEGER) != isinstance(value, int):
            raise UserMistake(
                "The watermark column has changed its type since the watermark was stored.",
                hint="Run: cdc-sync watermark reset",
            )
        return move_back(value, _amount(text))

    return target


def to_nothing(_standing: Standing) -> None:
    """No watermark: everything is read once more."""


def watermark_document(state: Database) -> dict[str, Any]:
    """`watermark show --json`, key for key."""
    with state.read() as tx:
        known = watermark.read(tx)
        horizon = control.load(tx, HorizonReport) or HorizonReport()
    return {
        "value": write_watermark(known.value),
        "type": known.type and known.type.value,
        "version": known.version,
        "moved_at": known.moved_at,
        "horizon": horizon.horizon,
        "basis": horizon.basis,
        "basis_reason": horizon.basis_reason,
        "read_to": write_watermark(watermark.read_to(known, horizon)),
        "held_back_by": horizon.held_back_by,
    }


def moves_document(state: Database, limit: int) -> dict[str, Any]:
    """`watermark history --json`, key for key; the newest first."""
    with state.read() as tx:
        return {"moves": watermark.history(tx, limit)}


def _move(kind: str, standing: Standing, target: Target, asked: Scan | SourceUnavailable) -> Move:
    to = target(standing)
    if isinstance(asked, Scan):
        rows, unasked = asked.count_from(to), None
    else:
        rows, unasked = None, asked.message
    return Move(kind, standing.known, to, standing.type, standing.zone, rows, unasked)


def _amount(text: str) -> int | timedelta:
    try:
        amount = int(text) if _NUMBER.fullmatch(text) else parse_duration(text)
    except ValueError as error:
        raise UserMistake(str(error)) from None
    if not amount:
        raise UserMistake(f"By {text} it does not move: give more than nothing.")
    return amount


def _parsed(text: str, standing: Standing) -> WatermarkValue:
    if standing.type is None:
        raise UserMistake(
            "There is no watermark yet, and the source, which says what its column holds,"
            " cannot be asked now."
        )
    if standing.horizon is None and not _has_zone(text, standing.type):
        raise UserMistake(
            "The source cannot be asked now in which zone its times are.",
            hint="Write the value with its zone, as 2026-11-23T12:00:00Z.",
        )
    return parse_watermark(text, standing.type, standing.zone)


def _has_zone(text: str, type_: WatermarkType) -> bool:
    if type_ is WatermarkType.INTEGER:
        return True
    return parse_watermark(text, type_, ZoneInfo("Etc/GMT+12")) == parse_watermark(
        text, type_, ZoneInfo("Etc/GMT-12")
    )


def _expect_not_future(value: WatermarkValue, standing: Standing) -> None:
    if isinstance(value, datetime) and standing.horizon and value > standing.horizon.clock:
        raise UserMistake(
            f"{write_watermark(value)} lies in the future: the source's clock says"
            f" {write_watermark(standing.horizon.clock)}, and changes until then would be missed."
        )


def _expect_within_horizon(value: WatermarkValue, standing: Standing) -> None:
    horizon = None if standing.horizon is None else standing.horizon.value
    # Back from where it stands is always safe, also while nobody can say where the horizon is.
    if not _greater(value, standing.known.value) or not _greater(value, horizon):
        return
    raise UserMistake(
        f"{write_watermark(value)} lies beyond the horizon"
        f" ({write_watermark(horizon) or 'not known now'}): what commits late before it would be"
        " missed until the next reconcile.",
        hint="If that is meant, add --force.",
    )


def _greater(one: WatermarkValue, other: WatermarkValue | None) -> bool:
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one > other
    if isinstance(one, int) and isinstance(other, int):
        return one > other
    return True
