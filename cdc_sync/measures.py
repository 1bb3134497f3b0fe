"""What happened in this process, counted and timed: in memory, bounded, cheap for each PUT."""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

HOUR = (timedelta(seconds=15), 240)  #: step and number of the buckets of the last hour
DAY = (timedelta(minutes=6), 240)  #: and of the last day


def _bounds(least: float, most: float) -> tuple[float, ...]:
    """Six a decade: 0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01 and so on."""
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    decades = (10.0**power for power in range(-3, 6))
    every = (float(f"{decade * step:.3g}") for decade in decades for step in steps)
    return tuple(bound for bound in every if least <= bound <= most)


BOUNDS = _bounds(0.001, 100_000)  #: seconds: from a millisecond to a day


class Distribution:
    """How long something took, in bins; its quantiles are right to the width of a bin."""

    __slots__ = ("bins", "count", "seconds")

    def __init__(self) -> None:
        self.bins: Counter[int] = Counter()  #: by the index of their bound; few are there at all
        self.count = 0
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        add_to([self], seconds)

    def quantile(self, share: float) -> float | None:
        """What so great a share of them stayed below; None where there is none."""
        sought = share * self.count
        for index in sorted(self.bins):
            inside = self.bins[index]
            if sought <= inside:
                low = BOUNDS[index - 1] if index else 0.0
                high = BOUNDS[min(index, len(BOUNDS) - 1)]
                return low + (high - low) * sought / inside
            sought -= inside
        return None


def add_to(distributions: Iterable[Distribution], seconds: float) -> None:
    """One more for each of them."""
    place = bisect_left(BOUNDS, seconds)
    for one in distributions:
        one.bins[place] += 1
        one.count += 1
        one.seconds += seconds


@dataclass(slots=True)
class Bucket:
    """A few seconds, or minutes."""

    accepted: int = 0
    failed: int = 0
    put: Distribution = field(default_factory=Distribution)
    arrival: Distribution = field(default_factory=Distribution)
    lag: float | None = None  #: the greatest


@dataclass(frozen=True, slots=True)
class Point:
    """A bucket for a chart, and when it began."""

    at: datetime
    rate: float  #: PUTs a second that were accepted
    failing: float  #: and that were not
    put: tuple[float, float] | None  #: the seconds that 50 % and 95 % stayed below
    arrival: tuple[float, float] | None
    lag: float | None


class Track:
    """Buckets of one width; the oldest is forgotten for the newest."""

    def __init__(self, step: timedelta, length: int) -> None:
        self._step = step.total_seconds()
        self._length = length
        self._buckets: deque[tuple[int, Bucket]] = deque(maxlen=length)

    def bucket(self, at: datetime) -> Bucket:
        """The bucket of an instant; where a clock was set back the latest."""
        index = int(at.timestamp() // self._step)
        if not self._buckets or self._buckets[-1][0] < index:
            self._buckets.append((index, Bucket()))
        return self._buckets[-1][1]

    def points(self, now: datetime) -> list[Point]:
        """Every bucket of the time that this track is for; those without an event are zero."""
        last = int(now.timestamp() // self._step)
        known = dict(self._buckets)
        return [
            self._point(index, known.get(index, Bucket()), now)
            for index in range(last - self._length + 1, last + 1)
        ]

    def _point(self, index: int, bucket: Bucket, now: datetime) -> Point:
        start = datetime.fromtimestamp(index * self._step, UTC)
        # The newest is not over yet.
        seconds = min(self._step, max(1.0, (now - start).total_seconds()))
        return Point(
            start,
            bucket.accepted / seconds,
            bucket.failed / seconds,
            _spread(bucket.put),
            _spread(bucket.arrival),
            bucket.lag,
        )


@dataclass(slots=True)
class Totals:
    """Everything since the start."""

    puts: Counter[str] = field(default_factory=Counter)  #: by HTTP status, or "none"
    tokens: Counter[str] = field(default_factory=Counter)  #: asked for: ok, refused, unavailable
    polls: Counter[str] = field(default_factory=Counter)  #: ok, failed
    rows: int = 0  #: read from the source
    unchanged: int = 0  #: of them, as they were known
    missed: int = 0  #: changes that a reconcile found and polls should have seen
    put: Distribution = field(default_factory=Distribution)
    arrival: Distribution = field(default_factory=Distribution)
    poll: Distribution = field(default_factory=Distribution)


class Measures:
    """Fed by the loops, read by the page and the metrics; every method is for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tracks = {"hour": Track(*HOUR), "day": Track(*DAY)}
        self._totals = Totals()

    def put(
        self, at: datetime, status: int | None, seconds: float, arrival: timedelta | None
    ) -> None:
        """A PUT that was answered or given up; `arrival`: so long after its change was found."""
        accepted = status is not None and 200 <= status < 300
        waited = None if arrival is None else max(0.0, arrival.total_seconds())
        with self._lock:
            self._totals.puts[str(status or "none")] += 1
            buckets = [track.bucket(at) for track in self._tracks.values()]
            for bucket in buckets:
                bucket.accepted += accepted
                bucket.failed += not accepted
            add_to([self._totals.put, *(bucket.put for bucket in buckets)], seconds)
            if waited is not None:
                add_to([self._totals.arrival, *(bucket.arrival for bucket in buckets)], waited)

    def token(self, result: str) -> None:
        """A request for a token has ended: ok, refused or unavailable."""
        with self._lock:
            self._totals.tokens[result] += 1

    def poll(self, at: datetime, seconds: float, *, well: bool, lag: float | None = None) -> None:
        """A poll has ended; `lag`: so far behind the source's clock it has read."""
        with self._lock:
            self._totals.polls["ok" if well else "failed"] += 1
            self._totals.poll.add(seconds)
            if lag is not None:
                for bucket in (track.bucket(at) for track in self._tracks.values()):
                    bucket.lag = max(lag, bucket.lag or 0.0)

    def read(self, rows: int, unchanged: int, missed: int) -> None:
        """A poll or a full scan has read so many rows."""
        with self._lock:
            self._totals.rows += rows
            self._totals.unchanged += unchanged
            self._totals.missed += missed

    def totals(self) -> Totals:
        """Everything since the start, as it is now."""
        with self._lock:
            return deepcopy(self._totals)

    def points(self, window: str, now: datetime) -> list[Point]:
        """What a chart of the last `hour` or `day` shows."""
        with self._lock:
            return self._tracks[window].points(now)


def _spread(distribution: Distribution) -> tuple[float, float] | None:
    half, most = distribution.quantile(0.5), distribution.quantile(0.95)
    return None if half is None or most is None else (half, most)
