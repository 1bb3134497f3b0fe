"""The rate as a value: evenly spaced requests, fewer after a 429, and soon as many as before.

After a 429 the rate follows the curve of CUBIC (RFC 9438, 4.2): a fifth below the rate that was
refused it rises steeply towards it, stays near it for a while, and then rises ever faster, so that
a limit of theirs is used and a 429 that meant nothing is forgotten in seconds.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import cbrt, ceil

from cdc_sync.config.units import Rate
from cdc_sync.rules.verdict import LONGEST

# A share kept free: a request that is late on the wire must not make N + 1 in a second of theirs.
SPARE = 1.024
LONGEST_AHEAD = timedelta(minutes=1)  # no delivery reserves further
SLOWEST = 0.5  # requests a second
UNLIMITED_LEAST = 20.0  # what a pace without limit counts as, before much was sent
FORGOTTEN = 100.0  # so many times as fast as they refused, a pace without limit has none again

BELOW = 0.97  # of the rate that was refused: what the curve aims at
CUT = 0.2  # of that, by which it begins lower
STEEP, FLAT = 0.008, 0.0005  # the curve's coefficient before and after it gets there
GETS_THERE_SECONDS = cbrt(CUT / STEEP)
STRETCH_LONGEST = 10.0  # a 429 that costs a longer wait is risked less often, up to so much


@dataclass(frozen=True, slots=True)
class SharedPace:
    """What of a pace the state keeps, for the next process and for others that send beside us."""

    next_at: datetime | None = None  #: no request starts before it
    until: datetime | None = None  #: everybody waits for a 429 until then, and rises from then on
    peak: float | None = None  #: requests a second that the rate rises to; None: no 429 counts
    since: datetime | None = None  #: when the first request after the last 429 started
    taken: int = 0  #: answers since then that were no 429
    wait: float = 0.0  #: seconds that everybody waited for the last 429


@dataclass(frozen=True, slots=True)
class Pace:
    """A limit of requests a second (None: no limit of ours), and what is shared of the pace."""

    limit: float | None
    shared: SharedPace = SharedPace()

    @classmethod
    def going_on(cls, limit: Rate | None, stored: SharedPace | None) -> "Pace":
        """The pace of a limit where the process before left it: no burst at a start."""
        return cls(limit.per_second if limit else None, stored or SharedPace())

    def joined(self, stored: SharedPace) -> "Pace":
        """This pace and what another process has kept of its own: one pace for all."""
        next_at = max(filter(None, (self.shared.next_at, stored.next_at)), default=None)
        until = max(filter(None, (self.shared.until, stored.until)), default=None)
        return replace(self, shared=replace(stored, next_at=next_at, until=until))

    def slowed_as(self, other: "Pace") -> "Pace":
        """This pace with what a 429 has just taught another."""
        return replace(self, shared=replace(other.shared, next_at=self.shared.next_at))

    def per_second(self, now: datetime) -> float | None:
        """How many requests a second may start; None: any number."""
        peak, until = self.shared.peak, self.shared.until
        if peak is None or until is None or until > now + LONGEST:
            return self.limit
        beyond = max(0.0, (now - until).total_seconds()) - GETS_THERE_SECONDS
        if beyond > 0:
            beyond /= min(STRETCH_LONGEST, max(1.0, self.shared.wait))
        rate = max(SLOWEST, peak * (1 + (STEEP if beyond < 0 else FLAT) * beyond**3))
        if self.limit is None:
            return rate if rate < FORGOTTEN * peak else None
        return min(self.limit, rate)

    def step(self, now: datetime) -> timedelta:
        """The time between two requests."""
        rate = self.per_second(now)
        return timedelta(0) if rate is None else timedelta(microseconds=ceil(1e6 * SPARE / rate))

    def room(self, now: datetime, within: timedelta) -> int | None:
        """How many requests may start within a time; None: any number."""
        until = self.shared.until
        # Further away than any wait there is: our clock was set back since.
        if until is not None and now < until <= now + LONGEST:
            return 0
        step = self.step(now)
        if not step:
            return None
        free = within - max(timedelta(0), (self.shared.next_at or now) - now)
        return max(0, -(-free // step))

    def reserve(self, now: datetime, count: int) -> tuple["Pace", list[datetime]]:
        """The instants at which so many requests may start, and the pace after them."""
        if not count:
            return self, []
        first, step = max(now, self.shared.next_at or now), self.step(now)
        since = self.shared.since or first
        after = replace(self.shared, next_at=first + step * count, since=since)
        return replace(self, shared=after), [first + step * place for place in range(count)]

    def given_back(self, earliest: datetime) -> "Pace":
        """The pace after requests were taken back that were to start from an instant on."""
        next_at = min(earliest, self.shared.next_at or earliest)
        return replace(self, shared=replace(self.shared, next_at=next_at))

    def answered(self, count: int) -> "Pace":
        """The pace after so many answers that were no 429."""
        return replace(self, shared=replace(self.shared, taken=self.shared.taken + count))

    def throttled(self, now: datetime, wait: timedelta) -> "Pace":
        """The pace after a 429 that makes everybody wait."""
        peak, since, taken = self.shared.peak, self.shared.since, self.shared.taken
        if peak is None or taken:  # a second 429 with nothing taken between tells nothing new
            seconds = (now - since).total_seconds() if since else 0.0
            rate = self.per_second(now) or max(UNLIMITED_LEAST, taken / max(seconds, 1e-3))
            # Refused before it was there: the limit is somewhere between, or the 429 meant nothing.
            peak = BELOW * (rate if peak is None or rate >= peak else (rate + peak) / 2)
        next_at, seconds = self.shared.next_at, wait.total_seconds()
        return replace(self, shared=SharedPace(next_at, now + wait, peak, wait=seconds))

    def without_far_reservations(self, now: datetime) -> "Pace":
        """The pace without what was reserved too far ahead: our clock was set back since."""
        next_at = self.shared.next_at
        far = next_at is not None and next_at > now + self.step(now) + LONGEST_AHEAD
        return replace(self, shared=replace(self.shared, next_at=None)) if far else self
