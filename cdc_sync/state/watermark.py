"""The stored watermark and its history: a person's move always wins over a running poll."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Select, select

from cdc_sync.contract import WatermarkValue
from cdc_sync.rules.watermark import (
    CarryOver,
    Horizon,
    HorizonState,
    Sample,
    Samples,
    Watermark,
    WatermarkType,
    read_watermark,
    write_watermark,
)
from cdc_sync.state import control
from cdc_sync.state.tables import fetch_dicts, watermark, watermark_move
from cdc_sync.state.values import HorizonReport, NumberSamples

ANOTHER_COLUMN = "the watermark column is another"

_READ = select(watermark)
_READ_TO_MOVE = _READ.with_for_update()


def read(tx: Connection) -> Watermark:
    """Returns the stored watermark; before the first run one without a value, version 0."""
    return _read(tx, _READ)


def _read_to_move(tx: Connection) -> Watermark:
    # PostgreSQL's other writers wait here; on SQLite the transaction has begun as a write.
    return _read(tx, _READ_TO_MOVE)


def _read(tx: Connection, query: Select[Any]) -> Watermark:
    row = tx.execute(query).mappings().first()
    if row is None:
        return Watermark(None, None, 0, None)
    type_ = None if row["type"] is None else WatermarkType(row["type"])
    return Watermark(read_watermark(row["value"], type_), type_, row["version"], row["moved_at"])


def read_to(mark: Watermark, horizon: HorizonReport) -> WatermarkValue | None:
    """Returns how far polls have read: to the watermark, or beyond it where nothing changed."""
    text, version = horizon.read_to or (None, None)
    if text is None or version != mark.version:
        return mark.value  # a person moved it since
    return read_watermark(text, mark.type)


def advance(
    tx: Connection, known: Watermark, to: WatermarkValue | None, type_: WatermarkType, now: datetime
) -> Watermark | None:
    """Moves the watermark for a poll, unless somebody else moved it since `known` was read.

    Returns None where somebody did: the poll's view of it is old.
    """
    if _read_to_move(tx).version != known.version:
        return None
    if to == known.value:
        return known
    return _write(tx, known.version, to, type_, now)


def move(  # noqa: PLR0913  # one argument a column of the history
    tx: Connection,
    to: WatermarkValue | None,
    *,
    type_: WatermarkType | None,
    kind: str,
    who: str,
    reason: str | None,
    now: datetime,
) -> Watermark:
    """Moves the watermark and records the move in the history."""
    known = _read_to_move(tx)
    _log(tx, known, to, now, kind=kind, who=who, reason=reason)
    return _write(tx, known.version, to, type_, now)


def begin_anew(
    tx: Connection, known: Watermark, to: WatermarkValue | None, type_: WatermarkType, now: datetime
) -> Watermark | None:
    """Moves the watermark as `advance`, for another column, which the history records."""
    if known.value is not None and _read_to_move(tx).version == known.version:
        _log(tx, known, to, now, kind="reset", who="cdc-sync", reason=ANOTHER_COLUMN)
    return advance(tx, known, to, type_, now)


def history(tx: Connection, limit: int) -> list[dict[str, Any]]:
    """Returns the latest moves by persons, newest first."""
    columns = [column for column in watermark_move.c if not column.primary_key]
    return fetch_dicts(tx, select(*columns).order_by(watermark_move.c.id.desc()).limit(limit))


def load_carry_over(tx: Connection) -> CarryOver:
    """Returns what the next horizon must know of the last one that was saved."""
    return CarryOver(control.load(tx, HorizonState), Samples(control.load(tx, Sample)))


def forget_samples(tx: Connection) -> None:
    """Removes the samples of an integer column: they are another server's."""
    control.remove(tx, NumberSamples)


def save_horizon(tx: Connection, horizon: Horizon) -> None:
    """Stores what the next horizon must know of this one."""
    memory, pair = horizon.carry_over.state, horizon.carry_over.samples.all
    if memory is not None:
        control.save(tx, memory)
    if pair is not None:
        control.save(tx, pair)
    else:
        control.remove(tx, Sample)


def _log(
    tx: Connection, known: Watermark, to: WatermarkValue | None, now: datetime, **origin: str | None
) -> None:
    moved = {"at": now, "from": write_watermark(known.value), "to": write_watermark(to)}
    tx.execute(watermark_move.insert().values({**moved, **origin}))


def _write(
    tx: Connection,
    version: int,
    to: WatermarkValue | None,
    type_: WatermarkType | None,
    now: datetime,
) -> Watermark:
    moved = Watermark(to, type_, version + 1, now)
    values = {
        "value": write_watermark(to),
        "type": None if type_ is None else type_.value,
        "version": moved.version,
        "moved_at": now,
    }
    if version == 0:
        tx.execute(watermark.insert().values(id=1, **values))
    else:
        changed = sa.update(watermark).where(watermark.c.version == version).values(values)
        tx.execute(changed)
    return moved
