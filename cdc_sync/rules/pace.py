"""The rate as a value: evenly spaced requests, slower after a 429, and then slowly faster again.

A first 429 halves the rate: it may mean nothing. What a second one soon after it says of their
limit is guessed from what they took between: a limiter by the second, with or without a second's
worth in reserve, took so many in so many seconds and one. A long wait means a budget for a long
time. Where a rate had held for long, their limit is just below it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from cdc_sync.config.units import Rate
from cdc_sync.rules.verdict import LONGEST

# A share kept free: a request that is late on the wire must not make N + 1 in a second of theirs.
SPARE = 1.024
LONGEST_AHEAD = timedelta(minutes=1)  # no delivery reserves further

BELOW = 0.95  # of a limit that was guessed
BELOW_HELD = 0.9  # of a rate that had held until it did not
SHORT_SECONDS = 5.0  # a 429 sooner than that tells the limit by what was taken
BUDGET_SECONDS = 10.0  # a wait as long as that is for a budget to be filled again
SLOWEST = 1 / 60  # requests a second
UNLIMITED_LEAST = 20.0  # what a pace without limit counts as, before much was sent

HOLD_AFTER_GUESS = 5.0  # seconds of sending before the rate rises again, and
HOLD_SHORTEST = 60.0  # where a rise was answered by a 429, twice as many each time
HOLD_LONGEST = 600.0
RISE_AT_FIRST = 1.004  # times a second: so slow that what a limiter has in reserve hides little
RISE_LATER = 1.03
AT_FIRST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SharedPace:
    """What of a pace the state keeps, for the next process and for others that send beside us."""

    next_at: datetime | None = None
    until: datetime | None = None
    since: datetime | None = None
    allowed: float | None = None
    hold: float = HOLD_AFTER_GUESS
    holds: float = HOLD_SHORTEST
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """`limit` None: no limit of ours; `next_at`: no request starts before it."""

    limit: float | None
    next_at: datetime | None = None
    until: datetime | None = None  #: everybody waits for a 429 until then
    allowed: float | None = None  #: a second, as far as their 429s tell; None: as `limit`
    hold: float = 0.0  #: seconds of sending until the rate rises; below 0: for so long it has
    holds: float = HOLD_SHORTEST  #: how long the next rise that fails makes it hold
    since: datetime | None = None  #: when the first request after the last 429 started
    taken: int = 0  #: answers since then that were no 429

    @classmethod
    def going_on(cls, limit: Rate | None, stored: SharedPace | None) -> "Pace":
        """The pace of a limit where the process before left it: no burst at a start."""
        pace = cls(limit.per_second if limit else None, hold=HOLD_AFTER_GUESS)
        return pace if stored is None else pace.joined(stored)

    def joined(self, stored: SharedPace) -> "Pace":
        """This pace and what another process has kept of its own: one pace for all."""
        return replace(
            self,
            next_at=max(filter(None, (self.next_at, stored.next_at)), default=None),
            until=max(filter(None, (self.until, stored.until)), default=None),
            allowed=stored.allowed,
            hold=stored.hold,
            holds=stored.holds,
            since=stored.since,
            taken=stored.taken,
        )

    def slowed_as(self, other: "Pace") -> "Pace":
        """This pace with what a 429 has just taught another."""
        return replace(
            self,
            allowed=other.allowed,
            hold=other.hold,
            holds=other.holds,
            since=other.since,
            taken=other.taken,
        )

    def shared(self) -> SharedPace:
        """Returns what the next process must know, and others that send beside us."""
        return SharedPace(
            self.next_at, self.until, self.since, self.allowed, self.hold, self.holds, self.taken
        )

    @property
    def per_second(self) -> float | None:
        """How many requests a second may start; None: any number."""
        if self.limit is None or self.allowed is None:
            return self.allowed if self.limit is None else self.limit
        return min(self.limit, self.allowed)

    @property
    def step(self) -> timedelta:
        """The time between two requests."""
        rate = self.per_second
        return timedelta(0) if rate is None else timedelta(microseconds=ceil(1e6 * SPARE / rate))

    def room(self, now: datetime, within: timedelta) -> int | None:
        """How many requests may start within a time; None: any number."""
        # Further away than any wait there is: our clock was set back since.
        if self.until is not None and now < self.until <= now + LONGEST:
            return 0
        if self.per_second is None:
            return None
        free = within - max(timedelta(0), (self.next_at or now) - now)
        return max(0, -(-free // self.step))

    def reserve(self, now: datetime, count: int) -> tuple["Pace", list[datetime]]:
        """The instants at which so many requests may start, and the pace after them."""
        first = max(now, self.next_at or now)
        starts = [first + self.step * place for place in range(count)]
        if not starts:
            return self, starts
        after = replace(self, next_at=first + self.step * count, since=self.since or first)
        return after.risen(count * self.step.total_seconds()), starts

    def given_back(self, earliest: datetime) -> "Pace":
        """The pace after requests were taken back that were to start from an instant on."""
        return replace(self, next_at=min(earliest, self.next_at or earliest))

    def answered(self, count: int) -> "Pace":
        """The pace after so many answers that were no 429."""
        return replace(self, taken=self.taken + count)

    def throttled(self, now: datetime, wait: timedelta) -> "Pace":
        """The pace after a 429 that makes everybody wait."""
        seconds = (now - self.since).total_seconds() if self.since else 0.0
        rate = self.per_second or max(UNLIMITED_LEAST, self.taken / max(seconds, 1e-3))
        is_budget = wait.total_seconds() >= BUDGET_SECONDS
        is_short = seconds < SHORT_SECONDS
        hold, holds = HOLD_AFTER_GUESS, HOLD_SHORTEST
        if not self.taken or (self.allowed is None and (is_short or is_budget)):
            allowed = BELOW * rate / 2
        elif is_short:
            allowed = BELOW * min(rate, self.taken / (seconds + 1))
        else:
            whole = seconds + wait.total_seconds()
            allowed = BELOW * min(rate, self.taken / whole) if is_budget else BELOW_HELD * rate
            hold, holds = self.holds, min(HOLD_LONGEST, 2 * self.holds)
        allowed = max(SLOWEST, allowed)
        return replace(
            self, until=now + wait, allowed=allowed, hold=hold, holds=holds, since=None, taken=0
        )

    def sound(self, now: datetime) -> "Pace":
        """The pace without what was reserved too far ahead: our clock was set back since."""
        far = self.next_at is not None and self.next_at > now + self.step + LONGEST_AHEAD
        return replace(self, next_at=None) if far else self

    def risen(self, seconds: float) -> "Pace":
        """The pace after so many seconds of sending."""
        if self.allowed is None:
            return self
        hold = self.hold - seconds
        allowed = self.allowed * _rise(-hold) / _rise(-self.hold)
        if self.limit is not None and allowed >= self.limit:
            return replace(self, allowed=None, hold=0.0, holds=HOLD_SHORTEST)
        return replace(self, allowed=allowed, hold=hold)


def _rise(seconds: float) -> float:
    """How many times as fast as at first, after so many seconds of rising."""
    later = max(0.0, seconds - AT_FIRST_SECONDS)
    return float(RISE_AT_FIRST ** max(0.0, seconds - later) * RISE_LATER**later)
