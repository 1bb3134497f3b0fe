"""What this process has measured: metrics since its start, and the charts' last hour and day."""

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram

HOUR = (timedelta(seconds=15), 240)  #: step and number of the buckets of the last hour
DAY = (timedelta(minutes=6), 240)  #: and of the last day
_STEPS = (1, 1.5, 2, 3, 5, 7)  # of a decade
#: Seconds, from a millisecond to a day: 0.001, 0.0015, 0.002, 0.003 and so on.
BOUNDS = (*(float(f"{step}e{power}") for power in range(-3, 5) for step in _STEPS), 100_000.0)
NAMESPACE = "cdc_sync"

# They would double the number of time series, and the process's start is known.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Distribution:
    """How long something took, in bins; a quantile is right to the width of its bin."""

    __slots__ = ("_bins",)

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()  # by the index of their bound; most have none

    def add(self, seconds: float) -> None:
        """Counts one more."""
        self._bins[bisect_left(BOUNDS, seconds)] += 1

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
    """Fed by the loops, read by the page and the metrics; every method is for any thread.

    `registry` has the metrics; it is not the global one, so that two syncs in a process stay apart.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tracks = {"hour": Track(*HOUR), "day": Track(*DAY)}
        self.registry = CollectorRegistry()
        counter = partial(prometheus_client.Counter, namespace=NAMESPACE, registry=self.registry)
        histogram = partial(Histogram, namespace=NAMESPACE, registry=self.registry, buckets=BOUNDS)
        self._polls = counter("polls", "Polls, by how they ended.", ["result"])
        self._poll_seconds = histogram("poll_seconds", "How long polls took.")
        self._rows = counter("source_rows_read", "Rows read from the source.")
        self._unchanged = counter("unchanged_rows", "Rows read that differed in nothing.")
        self._missed = counter(
            "reconcile_found_missed", "Changes that a reconcile found and polls should have seen."
        )
        self._late = counter("late_changes", "Changes that a sweep found and polls had passed.")
        self._late_seconds = histogram(
            "late_seconds", "How far such changes were behind their stamps."
        )
        self._puts = counter("puts", "PUTs, by the status of their answer.", ["code"])
        self._put_seconds = histogram("put_seconds", "How long PUTs took.")
        self._time_to_ack = histogram(
            "change_to_ack_seconds", "From the poll that found a change to its acknowledgement."
        )
        self._token_requests = counter("token_requests", "Requests for a token.", ["result"])

    def record_put(
        self, at: datetime, status: int | None, seconds: float, time_to_ack: timedelta | None
    ) -> None:
        """Records a PUT; `status` is None if it had no answer, `time_to_ack` if no change did."""
        is_accepted = status is not None and 200 <= status < 300
        waited = None if time_to_ack is None else max(0.0, time_to_ack.total_seconds())
        self._puts.labels(str(status or "none")).inc()
        self._put_seconds.observe(seconds)
        if waited is not None:
            self._time_to_ack.observe(waited)
        with self._lock:
            for bucket in (track.bucket(at) for track in self._tracks.values()):
                bucket.accepted += is_accepted
                bucket.failed += not is_accepted
                bucket.put.add(seconds)
                if waited is not None:
                    bucket.time_to_ack.add(waited)

    def record_token_request(self, result: str) -> None:
        """Records that a request for a token has ended: ok, refused or unavailable."""
        self._token_requests.labels(result).inc()

    def record_poll(
        self, at: datetime, seconds: float, *, well: bool, lag: float | None = None
    ) -> None:
        """Records a poll; `lag` is how far behind the source's clock it has read, in seconds."""
        self._polls.labels("ok" if well else "failed").inc()
        self._poll_seconds.observe(seconds)
        if lag is not None:
            with self._lock:
                for bucket in (track.bucket(at) for track in self._tracks.values()):
                    bucket.lag = max(lag, bucket.lag or 0.0)

    def record_rows(self, rows: int, unchanged: int, missed: int) -> None:
        """Records the rows that a poll, a sweep or a full scan has read."""
        self._rows.inc(rows)
        self._unchanged.inc(unchanged)
        self._missed.inc(missed)

    def record_late(self, seconds: Iterable[float | None]) -> None:
        """Records changes that a sweep found, each with how far it was behind its stamp."""
        for each in seconds:
            self._late.inc()
            if each is not None:
                self._late_seconds.observe(each)

    def points(self, window: str, now: datetime) -> list[Point]:
        """Returns what a chart of the last `hour` or `day` shows."""
        with self._lock:
            return self._tracks[window].points(now)
