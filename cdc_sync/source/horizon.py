"""How far the watermark may be moved: what the source says of it before a scan.

For now every source is on the lowest rung, `lookback`: the watermark stays that long behind the
source's own clock. The horizon proper, which sees unfinished transactions, takes its place here.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.contract import WatermarkValue
from cdc_sync.rules.watermark import Horizon, Pair, WatermarkType
from cdc_sync.source.columns import WatermarkColumn
from cdc_sync.source.statements import Statements

BASIS = "lookback"
REASON = "unfinished transactions are not looked at yet"

_CLOCK = {
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}


def read_horizon(
    connection: Connection,
    statements: Statements,
    column: WatermarkColumn,
    *,
    lookback: timedelta | int,
    remembered: Pair | None,
) -> Horizon:
    """The horizon of a scan that has not begun; `remembered` is an integer column's pair."""
    clock = source_clock(connection)
    if column.type is not WatermarkType.INTEGER:
        behind = lookback if isinstance(lookback, timedelta) else timedelta()
        return Horizon(clock - behind, clock, BASIS, REASON)
    if isinstance(lookback, int):
        greatest = _greatest(connection, statements, column)
        value = greatest - lookback if greatest is not None else None
        return Horizon(value, clock, BASIS, REASON)
    return _aged(connection, statements, column, clock, lookback, remembered)


def source_clock(connection: Connection) -> datetime:
    """The source's own time, as an instant."""
    raw = connection.exec_driver_sql(_CLOCK[connection.dialect.name]).scalar_one()
    value = datetime.fromisoformat(raw) if isinstance(raw, str) else raw
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def _aged(  # one argument a fact
    connection: Connection,
    statements: Statements,
    column: WatermarkColumn,
    clock: datetime,
    lookback: timedelta,
    remembered: Pair | None,
) -> Horizon:
    """A number has an order but no clock: the greatest value seen `lookback` ago is the horizon."""
    if remembered is not None and clock - lookback < remembered.at:
        return Horizon(None, clock, BASIS, REASON)
    value = None if remembered is None else remembered.value
    greatest = _greatest(connection, statements, column)
    # The clock after the number: whatever is unfinished and smaller than it began before then.
    pair = None if greatest is None else Pair(greatest, source_clock(connection))
    return Horizon(value, clock, BASIS, REASON, pair)


def _greatest(
    connection: Connection, statements: Statements, column: WatermarkColumn
) -> int | None:
    greatest: WatermarkValue | None = column.value_of(
        connection.execute(sa.select(statements.extremes().selected_columns[1])).scalar()
    )
    return greatest if isinstance(greatest, int) else None
