"""The horizon of a scan that has not begun, in the watermark column's own values.

The dialect says which transactions are open, `rules.watermark` what follows from it. A column of
numbers has an order and no clock: its greatest value and an instant read after it make a sample,
which is the horizon once every transaction older than that instant has ended.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import (
    CarryOver,
    Horizon,
    HorizonEstimate,
    Sample,
    Samples,
    TransactionSnapshot,
    WatermarkType,
    compute_horizon,
)
from cdc_sync.source.reader import Scan

# How old a sample must be where the open transactions are not known and `lookback` is a number.
_LOOKBACK = timedelta(minutes=5)


def read_horizon(scan: Scan, carry_over: CarryOver, ours: datetime) -> Horizon:
    """Returns the horizon of a scan; to be asked before its first page, with what the last left.

    `ours` is our own clock, by which a source's clock that falls back is noticed. Raises
    SourceMistake for a lookback that does not fit the column.
    """
    config = scan.config
    exact = scan.dialect.exact_horizon(scan.connection, scan.watermark_type)
    if exact is not None:
        snapshot = TransactionSnapshot(exact.clock, (), exact.server)
    else:
        snapshot = scan.dialect.open_transactions(scan.connection, scan.statements.in_scope)
    estimate = compute_horizon(
        snapshot,
        carry_over.state,
        ours=ours,
        margin=config.clock_margin,
        lookback=_lookback(scan),
        long_after=config.long_transaction,
    )
    horizon = Horizon(
        value=estimate.value,
        clock=snapshot.clock,
        basis="horizon" if snapshot.unavailable_reason is None else "lookback",
        reason=snapshot.unavailable_reason,
        hint=snapshot.hint,
        ahead=estimate.ahead,
        holders=estimate.holders,
        carry_over=CarryOver(estimate.state),
        source_changed=estimate.source_changed,
    )
    if exact is not None:
        return replace(horizon, value=exact.number, ahead=exact.number)
    if scan.column.type is not WatermarkType.INTEGER:
        return horizon
    if isinstance(config.lookback, int) and snapshot.unavailable_reason is not None:
        return _behind_greatest(scan, horizon, config.lookback)
    samples = Samples() if estimate.source_changed else carry_over.samples
    return replace(
        horizon,
        value=_value_before(estimate.value, samples.all),
        ahead=_value_before(estimate.ahead, samples.young),
        carry_over=CarryOver(estimate.state, _next_samples(scan, samples, estimate)),
    )


def _lookback(scan: Scan) -> timedelta:
    if isinstance(scan.config.lookback, timedelta):
        return scan.config.lookback
    if scan.column.type is WatermarkType.INTEGER:
        return _LOOKBACK
    raise SourceMistake(
        f"`source.lookback` is a number, and the column {scan.config.watermark} holds times.",
        hint="Write it as a duration, as in: 5m",
    )


def _behind_greatest(scan: Scan, horizon: Horizon, lookback: int) -> Horizon:
    greatest = _greatest_number(scan)
    value = None if greatest is None else greatest - lookback
    return replace(
        horizon,
        value=value,
        ahead=value,
        holders=(),
    )


def _value_before(instant: datetime | None, sample: Sample | None) -> int | None:
    """Returns the number of a sample that was taken before the instant; None of a later one."""
    return None if sample is None or instant is None or instant <= sample.at else sample.value


def _next_samples(scan: Scan, samples: Samples, estimate: HorizonEstimate) -> Samples:
    """Replaces a sample once it has been used as the horizon."""
    used = samples.all is None or _value_before(estimate.value, samples.all) is not None
    used_young = samples.young is None or _value_before(estimate.ahead, samples.young) is not None
    new = take_sample(scan) if used or used_young else None
    if new is None:
        return samples
    return Samples(new if used else samples.all, new if used_young else samples.young)


def take_sample(scan: Scan) -> Sample | None:
    """Returns the greatest number of the watermark column now; None where there is no row."""
    number = _greatest_number(scan)
    # The clock after the number: whatever is unfinished and smaller than it began before then.
    return None if number is None else Sample(number, scan.dialect.clock(scan.connection))


def _greatest_number(scan: Scan) -> int | None:
    raw = scan.connection.execute(scan.statements.greatest_number()).scalar()
    greatest = scan.column.value_of(raw)
    return greatest if isinstance(greatest, int) else None
