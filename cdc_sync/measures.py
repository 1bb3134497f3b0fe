"""What this process has measured: metrics since its start, and the charts' last hour and day."""

import threading
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

HOUR = (timedelta(seconds=15), 240)  #: step and number of the buckets of the last hour
DAY = (timedelta(minutes=6), 240)  #: and of the last day
_STEPS = (1, 1.5, 2, 3, 5, 7)  # of a decade
#: Seconds, from a millisecond to a day: 0.001, 0.0015, 0.002, 0.003 and so on.
BOUNDS = (*(float(f"{step}e{power}") for power in range(-3, 5) for step in _STEPS), 100_000.0)


class Distribution:
    """How long something took, in bins; a quantile is right to the width of its bin."""

    __slots__ = ("_bins", "sum")

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()  # by the index of their bound; most have none
        self.sum = 0.0  #: of all seconds

    def add(self, seconds: float) -> None:
        """Counts one more."""
        self._bins[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def up_to(self) -> list[int]:
        """Returns for each of BOUNDS, and for more than these, how many were no longer."""
        return list(accumulate(self._bins[index] for index in range(len(BOUNDS) + 1)))

    def quantile(self, share: float) -> float | None:
        """Returns the quantile at `share`; None if empty."""
        sought = share * self._bins.total()
        for index, inside in sorted(self._bins.items()):
            if sought <= inside:
                low = BOUNDS[index - 1] if index else 0.0
                high = BOUNDS[min(index, len(BOUNDS) - 1)]
                return low + (high - low) * sought / inside
            sought -= inside
        return None

    def spread(self) -> tuple[float, float] | None:
        """Returns the median and the 95 % quantile; None if empty."""
        median, most = self.quantile(0.5), self.quantile(0.95)
        return None if median is None or most is None else (median, most)


@dataclass(slots=True)
class Bucket:
    """What happened within a step of a track."""

    accepted: int = 0
    failed: int = 0
    put: Distribution = field(default_factory=Distribution)
    time_to_ack: Distribution = field(default_factory=Distribution)
    lag: float | None = None  #: the greatest


@dataclass(frozen=True, slots=True)
class Point:
    """A bucket for a chart, and when it began."""

    at: datetime
    rate: float  #: PUTs a second that were accepted
    failing: float  #: and that were not
    put: tuple[float, float] | None  #: the seconds that 50 % and 95 % stayed below
    time_to_ack: tuple[float, float] | None
    lag: float | None


class Track:
    """Buckets of one width; the newest displaces the oldest."""

    def __init__(self, step: timedelta, length: int) -> None:
        self._step = step.total_seconds()
        self._length = length
        self._buckets: deque[tuple[int, Bucket]] = deque(maxlen=length)

    def bucket(self, at: datetime) -> Bucket:
        """Returns the bucket of an instant; the latest if the system clock was set back."""
        index = int(at.timestamp() // self._step)
        if not self._buckets or self._buckets[-1][0] < index:
            self._buckets.append((index, Bucket()))
        return self._buckets[-1][1]

    def points(self, now: datetime) -> list[Point]:
        """Returns a point for every step until now; one without an event is zero."""
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
            bucket.put.spread(),
            bucket.time_to_ack.spread(),
            bucket.lag,
        )


class Measures:
    """Fed by the loops, read by the page and the metrics; every method is for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tracks = {"hour": Track(*HOUR), "day": Track(*DAY)}
        self._counts: Counter[tuple[str, str]] = Counter()  # by name, and by label where it has one
        self._times: defaultdict[str, Distribution] = defaultdict(Distribution)

    def record_put(
        self, at: datetime, status: int | None, seconds: float, time_to_ack: timedelta | None
    ) -> None:
        """Records a PUT; `status` is None if it had no answer, `time_to_ack` if no change did."""
        is_accepted = status is not None and 200 <= status < 300
        waited = None if time_to_ack is None else max(0.0, time_to_ack.total_seconds())
        with self._lock:
            self._counts["puts", str(status or "none")] += 1
            self._times["put_seconds"].add(seconds)
            if waited is not None:
                self._times["change_to_ack_seconds"].add(waited)
            for bucket in (track.bucket(at) for track in self._tracks.values()):
                bucket.accepted += is_accepted
                bucket.failed += not is_accepted
                bucket.put.add(seconds)
                if waited is not None:
                    bucket.time_to_ack.add(waited)

    def record_token_request(self, result: str) -> None:
        """Records that a request for a token has ended: ok, refused or unavailable."""
        with self._lock:
            self._counts["token_requests", result] += 1

    def record_poll(
        self, at: datetime, seconds: float, *, well: bool, lag: float | None = None
    ) -> None:
        """Records a poll; `lag` is how far behind the source's clock it has read, in seconds."""
        with self._lock:
            self._counts["polls", "ok" if well else "failed"] += 1
            self._times["poll_seconds"].add(seconds)
            if lag is not None:
                for bucket in (track.bucket(at) for track in self._tracks.values()):
                    bucket.lag = max(lag, bucket.lag or 0.0)

    def record_rows(self, rows: int, unchanged: int, missed: int) -> None:
        """Records the rows that a poll, a sweep or a full scan has read."""
        with self._lock:
            self._counts["source_rows_read", ""] += rows
            self._counts["unchanged_rows", ""] += unchanged
            self._counts["reconcile_found_missed", ""] += missed

    def record_late(self, seconds: Iterable[float | None]) -> None:
        """Records changes that a sweep found, each with how far it was behind its stamp."""
        with self._lock:
            for each in seconds:
                self._counts["late_changes", ""] += 1
                if each is not None:
                    self._times["late_seconds"].add(each)

    def count(self, name: str) -> dict[str, int]:
        """Returns how often something happened, by its label; "" where it has none."""
        with self._lock:
            return {label: n for (known, label), n in self._counts.items() if known == name}

    def times(self, name: str) -> tuple[list[int], float]:
        """Returns how many took no longer than each bound, and the sum of all seconds."""
        with self._lock:
            return self._times[name].up_to(), self._times[name].sum

    def points(self, window: str, now: datetime) -> list[Point]:
        """Returns what a chart of the last `hour` or `day` shows."""
        with self._lock:
            return self._tracks[window].points(now)
