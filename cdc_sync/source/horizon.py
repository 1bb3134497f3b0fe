"""The horizon of a scan that has not begun, in the watermark column's own values.

The dialect says which transactions are open, `rules.watermark` what follows from it. A column of
numbers has an order and no clock: its greatest value and an instant read after it make a sample,
which is the horizon once every transaction older than that instant has ended.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from cdc_sync.config.model import SourceConfig
from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import (
    CarryOver,
    Horizon,
    HorizonEstimate,
    Sample,
    Samples,
    WatermarkType,
    compute_horizon,
)
from cdc_sync.source.columns import WatermarkColumn
from cdc_sync.source.dialects.base import Dialect, quoted_table
from cdc_sync.source.statements import Statements

# How old a sample must be where the open transactions are not known and `lookback` is a number.
_LOOKBACK = timedelta(minutes=5)


class HorizonReader:
    """Asks one connection for horizons."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        statements: Statements,
        column: WatermarkColumn,
        config: SourceConfig,
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._statements = statements
        self._column = column
        self._config = config

    def read(self, carry_over: CarryOver, ours: datetime) -> Horizon:
        """Returns the horizon; to be asked before the first page, with what the last one left.

        `ours` is our own clock, by which a source's clock that falls back is noticed. Raises
        SourceMistake for a lookback that does not fit the column.
        """
        config, table = self._config, self._config.table
        seen = self._dialect.open_transactions(
            self._connection, None if table is None else quoted_table(self._connection, table)
        )
        estimate = compute_horizon(
            seen,
            carry_over.state,
            ours=ours,
            margin=config.clock_margin,
            lookback=self._lookback(),
            long_after=config.long_transaction,
        )
        horizon = Horizon(
            value=estimate.value,
            clock=seen.clock,
            basis="horizon" if seen.unavailable_reason is None else "lookback",
            reason=seen.unavailable_reason,
            hint=seen.hint,
            ahead=estimate.ahead,
            holders=estimate.holders,
            carry_over=CarryOver(estimate.state),
            source_changed=estimate.source_changed,
        )
        if self._column.type is not WatermarkType.INTEGER:
            return horizon
        if isinstance(config.lookback, int):
            return self._behind_greatest(horizon, config.lookback)
        return self._of_numbers(
            horizon, estimate, Samples() if estimate.source_changed else carry_over.samples
        )

    def _lookback(self) -> timedelta:
        if isinstance(self._config.lookback, timedelta):
            return self._config.lookback
        if self._column.type is WatermarkType.INTEGER:
            return _LOOKBACK
        raise SourceMistake(
            f"`source.lookback` is a number, and the column {self._config.watermark} holds times.",
            hint="Write it as a duration, as in: 5m",
        )

    def _behind_greatest(self, horizon: Horizon, lookback: int) -> Horizon:
        greatest = self._greatest_number()
        value = None if greatest is None else greatest - lookback
        return replace(
            horizon,
            value=value,
            ahead=value,
            holders=(),
            basis="lookback",
            reason="`source.lookback` is a number",
            hint=None,
        )

    def _of_numbers(self, horizon: Horizon, estimate: HorizonEstimate, samples: Samples) -> Horizon:
        next_samples = _next_samples(samples, estimate, self._new_pair)
        return replace(
            horizon,
            value=_old_enough(samples.all, estimate.value),
            ahead=_old_enough(samples.young, estimate.ahead),
            carry_over=CarryOver(estimate.state, next_samples),
        )

    def _new_pair(self) -> Sample | None:
        number = self._greatest_number()
        # The clock after the number: whatever is unfinished and smaller than it began before then.
        return None if number is None else Sample(number, self._dialect.clock(self._connection))

    def _greatest_number(self) -> int | None:
        raw = self._connection.execute(self._statements.greatest_number()).scalar()
        greatest = self._column.value_of(raw)
        return greatest if isinstance(greatest, int) else None


def _old_enough(pair: Sample | None, instant: datetime | None) -> int | None:
    """The number of a sample that was taken before the instant, None of a later one."""
    return None if pair is None or instant is None or instant <= pair.at else pair.value


def _next_samples(
    samples: Samples, estimate: HorizonEstimate, take: Callable[[], Sample | None]
) -> Samples:
    """Replaces a sample once it has been used as the horizon."""
    old = samples.all is None or _old_enough(samples.all, estimate.value) is not None
    old_young = samples.young is None or _old_enough(samples.young, estimate.ahead) is not None
    new = take() if old or old_young else None
    if new is None:
        return samples
    return Samples(new if old else samples.all, new if old_young else samples.young)
