"""The horizon of a scan that has not begun, in the watermark column's own values."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from cdc_sync.config.model import SourceConfig
from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import Horizon, Pair, Pairs, Remembered, Sight, WatermarkType, look
from cdc_sync.source.columns import WatermarkColumn
from cdc_sync.source.statements import Statements
from cdc_sync.source.unfinished import glance

# How far behind its sight a source is looked back at where `lookback` is a number.
_LOOKBACK = timedelta(minutes=5)
_CLOCK = {
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}


def read_horizon(  # one argument a fact
    connection: Connection,
    statements: Statements,
    column: WatermarkColumn,
    config: SourceConfig,
    remembered: Remembered,
    ours: datetime,
) -> Horizon:
    """The horizon; to be asked before the first page, with what the one before remembered.

    `ours` is our own clock, by which a source's clock that falls back is noticed. Raises
    SourceMistake for a lookback that does not fit the column.
    """
    seen = glance(connection, _rows(connection, config), lambda: source_clock(connection))
    sight = look(
        seen,
        remembered.memory,
        ours=ours,
        margin=config.clock_margin,
        lookback=_lookback(config, column),
        long_after=config.long_transaction,
    )
    horizon = Horizon(
        value=sight.value,
        clock=seen.clock,
        basis="horizon" if seen.blind is None else "lookback",
        reason=seen.blind,
        mend=seen.mend,
        ahead=sight.ahead,
        holders=sight.holders,
        remembered=Remembered(sight.memory),
        afresh=sight.afresh,
    )
    if column.type is not WatermarkType.INTEGER:
        return horizon
    greatest = partial(_greatest, connection, statements, column)
    if isinstance(config.lookback, int):
        return _behind(horizon, greatest(), config.lookback)
    pairs = Pairs() if sight.afresh else remembered.pairs
    return _aged_numbers(
        horizon, sight, pairs, _next_pairs(pairs, sight, greatest, lambda: source_clock(connection))
    )


def _aged_numbers(horizon: Horizon, sight: Sight, pairs: Pairs, next_pairs: Pairs) -> Horizon:
    return replace(
        horizon,
        value=_aged(pairs.all, sight.value),
        ahead=_aged(pairs.young, sight.ahead),
        remembered=Remembered(sight.memory, next_pairs),
    )


def _lookback(config: SourceConfig, column: WatermarkColumn) -> timedelta:
    if isinstance(config.lookback, timedelta):
        return config.lookback
    if column.type is WatermarkType.INTEGER:
        return _LOOKBACK
    raise SourceMistake(
        f"`source.lookback` is a number, and the column {config.watermark} holds times.",
        mend="Write it as a duration, as in: 5m",
    )


def _behind(horizon: Horizon, greatest: int | None, lookback: int) -> Horizon:
    value = None if greatest is None else greatest - lookback
    return replace(
        horizon,
        value=value,
        ahead=value,
        holders=(),
        basis="lookback",
        reason="`source.lookback` is a number",
        mend=None,
    )


def source_clock(connection: Connection) -> datetime:
    """The source's own time, as an instant."""
    backend = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    raw = connection.exec_driver_sql(_CLOCK[backend]).scalar_one()
    value = datetime.fromisoformat(raw) if isinstance(raw, str) else raw
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def _rows(connection: Connection, config: SourceConfig) -> str | None:
    if config.table is None:
        return None
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in config.table.rpartition(".") if part not in ("", "."))


def _aged(pair: Pair | None, instant: datetime | None) -> int | None:
    """A number has an order but no clock: the greatest one of so long ago is the horizon."""
    return None if pair is None or instant is None or instant <= pair.at else pair.value


def _next_pairs(
    pairs: Pairs,
    sight: Sight,
    greatest: Callable[[], int | None],
    clock: Callable[[], datetime],
) -> Pairs:
    """What was aged has served, and a new pair takes its place."""
    old = pairs.all is None or _aged(pairs.all, sight.value) is not None
    old_young = pairs.young is None or _aged(pairs.young, sight.ahead) is not None
    number = greatest() if old or old_young else None
    if number is None:
        return pairs
    # The clock after the number: whatever is unfinished and smaller than it began before then.
    new = Pair(number, clock())
    return Pairs(new if old else pairs.all, new if old_young else pairs.young)


def _greatest(
    connection: Connection, statements: Statements, column: WatermarkColumn
) -> int | None:
    greatest: WatermarkValue | None = column.value_of(
        connection.execute(statements.greatest_number()).scalar()
    )
    return greatest if isinstance(greatest, int) else None
