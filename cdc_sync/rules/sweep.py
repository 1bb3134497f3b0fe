"""When a sweep is due, where it starts, and what the lateness of its finds tells of their cause.

Polls pass a stamp once and never come back to it. A sweep of a window reads again what is stamped
within that window, so that a change that became visible late, whatever the cause, is found within
a twelfth of the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cdc_sync.contract import WatermarkValue
from cdc_sync.rules.watermark import Sample

TIMES_A_WINDOW = 12
REST = 50  # times as long as it took a sweep is not repeated: 2 % of the time at most
_HALF_HOUR = timedelta(minutes=30)  # zones differ by multiples of it
_SHORTEST_OFFSET = timedelta(minutes=2)  # of a clock that is told from chance


@dataclass(frozen=True, slots=True)
class LastSweep:
    """When the last sweep of a window began, and how long it took."""

    window: timedelta
    started: datetime
    seconds: float = 0.0

    @property
    def interval(self) -> timedelta:
        """The time from one beginning to the next."""
        return max(self.window / TIMES_A_WINDOW, timedelta(seconds=REST * self.seconds))

    @property
    def leaves_gaps(self) -> bool:
        """Whether it takes so long that its windows no longer meet."""
        return self.interval > self.window

    def is_due(self, now: datetime) -> bool:
        """Whether the next one is due; at once where the system clock was set back since."""
        return not self.started <= now < self.started + self.interval


def after_full_scan(
    last: Sequence[LastSweep], windows: Sequence[timedelta], started: datetime
) -> tuple[LastSweep, ...]:
    """Returns the last sweeps once everything was read: that counts as a sweep of each window."""
    seconds = {sweep.window: sweep.seconds for sweep in last}
    return tuple(LastSweep(window, started, seconds.get(window, 0.0)) for window in windows)


def after_sweep(last: Sequence[LastSweep], swept: LastSweep) -> tuple[LastSweep, ...]:
    """Returns the last sweeps after one more; it counts for every shorter window, too."""
    others = [each for each in last if each.window != swept.window]
    return (
        *(
            replace(each, started=max(each.started, swept.started))
            if each.window < swept.window
            else each
            for each in others
        ),
        swept,
    )


def next_window(
    windows: Sequence[timedelta], last: Sequence[LastSweep], now: datetime
) -> timedelta | None:
    """Returns the shortest window whose sweep is due; None while none is."""
    swept = {sweep.window: sweep for sweep in last}
    due = [w for w in windows if w not in swept or swept[w].is_due(now)]
    return min(due, default=None)


def sweep_start(
    window: timedelta, clock: datetime, samples: Sequence[Sample] | None
) -> WatermarkValue | None:
    """Returns where a sweep starts by the source's `clock`; None where there is nothing to tell it.

    A column of numbers has no clock: `samples` of it turn the window into a number, the oldest one
    where none is old enough. They are None for a column of times.
    """
    since = clock - window
    if samples is None:
        return since
    old = [sample.value for sample in samples if sample.at <= since]
    return max(old) if old else min((sample.value for sample in samples), default=None)


def add_sample(
    samples: Sequence[Sample], new: Sample, windows: Sequence[timedelta]
) -> tuple[Sample, ...]:
    """Returns the samples with a new one, if it is time for it, and without those of no more use.

    They are a twelfth of the shortest window apart, and reach back beyond the longest one.
    """
    kept = [sample for sample in samples if sample.at <= new.at]  # later: the clock was set back
    if kept and new.at - kept[-1].at < min(windows) / TIMES_A_WINDOW:
        return tuple(kept)
    recent = [sample for sample in kept if new.at - sample.at < max(windows)]
    old = kept[: len(kept) - len(recent)][-1:]
    return (*old, *recent, new)


def lateness(stamp: WatermarkValue, clock: datetime, samples: Sequence[Sample]) -> timedelta | None:
    """Returns how long after its stamp a change was found; of a number at least so long.

    None where no sample tells when the number was new.
    """
    if isinstance(stamp, datetime):
        return clock - stamp
    at = next((sample.at for sample in samples if sample.value >= stamp), None)
    return None if at is None else clock - at


@dataclass(frozen=True, slots=True)
class LateChanges:
    """Changes that sweeps found behind what polls had passed: how many, and how late.

    `stamp` is the one that all of them bear; None where they bear several.
    """

    count: int = 0
    least: timedelta | None = None
    most: timedelta | None = None
    stamp: WatermarkValue | None = None

    def add(self, stamp: WatermarkValue, late: timedelta | None) -> "LateChanges":
        """Returns these and one more."""
        known = [each for each in (self.least, self.most, late) if each is not None]
        return LateChanges(
            count=self.count + 1,
            least=min(known, default=None),
            most=max(known, default=None),
            stamp=stamp if self.count == 0 or self.stamp == stamp else None,
        )

    def cause(self, window: timedelta, basis: str) -> "Cause":
        """Returns what probably made them late, found by a sweep of this window."""
        if self.count > 1 and self.stamp is not None:
            return ONE_STAMP
        if self.least is not None and self.most is not None and self.count > 1:
            resolution = window / TIMES_A_WINDOW + timedelta(minutes=1)
            if self.most - self.least <= resolution and self.least >= _SHORTEST_OFFSET:
                is_zone = self.most >= _HALF_HOUR and self.most % _HALF_HOUR <= resolution
                return ANOTHER_ZONE if is_zone else SLOW_CLOCK
        return LONGER_THAN_LOOKBACK if basis == "lookback" else OLD_STAMPS


@dataclass(frozen=True, slots=True)
class Cause:
    """Why changes come late, and what helps, in words."""

    message: str
    hint: str


ONE_STAMP = Cause(
    "all of them bear one stamp, as after a batch job that stamps its rows with its own start",
    "Let the database stamp each row when it is written: a trigger, or a column default.",
)
ANOTHER_ZONE = Cause(
    "all of them are late by the same half hours, as by stamps in another time zone",
    "Let whoever writes them stamp in the zone of `source.time_zone`, or in UTC with a zone.",
)
SLOW_CLOCK = Cause(
    "all of them are late by the same time, as by a clock that is behind the database's",
    "Synchronize the clocks (NTP), or let the database stamp the rows.",
)
LONGER_THAN_LOOKBACK = Cause(
    "transactions open for longer than `source.lookback`, or rows that keep an older stamp",
    "Make `source.lookback` longer than the longest transaction, or see `cdc-sync check` for how"
    " the source can tell its open transactions.",
)
OLD_STAMPS = Cause(
    "rows keep an older stamp, as after an import or a refresh from elsewhere",
    "Let the database stamp each row when it is written: a trigger, or a column default.",
)
