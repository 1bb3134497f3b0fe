"""The rate limit as a value: when the next requests may start, evenly spaced, without a burst."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from cdc_sync.config.units import Rate

# A share kept free: a request that is late on the wire must not make N + 1 in a second of theirs.
SPARE = 1.05
LONGEST_AHEAD = timedelta(minutes=1)  # no delivery reserves further


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_second` None: no limit; `next_at`: no request starts before it."""

    per_second: float | None
    next_at: datetime | None = None

    @classmethod
    def going_on(cls, limit: Rate | None, stored: str | None) -> "Pace":
        """The pace of a limit where the process before left it: no burst at a start."""
        next_at = datetime.fromisoformat(stored) if stored else None
        return cls(limit.per_second if limit else None, next_at)

    @property
    def step(self) -> timedelta:
        """The time between two requests."""
        if self.per_second is None:
            return timedelta(0)
        return timedelta(microseconds=ceil(1e6 * SPARE / self.per_second))

    def room(self, now: datetime, within: timedelta) -> int | None:
        """How many requests may start within a time; None: any number."""
        if self.per_second is None:
            return None
        free = within - max(timedelta(0), (self.next_at or now) - now)
        return max(0, -(-free // self.step))

    def reserve(self, now: datetime, count: int) -> tuple["Pace", list[datetime]]:
        """The instants at which so many requests may start, and the pace after them."""
        first = max(now, self.next_at or now)
        starts = [first + self.step * place for place in range(count)]
        return replace(self, next_at=first + self.step * count), starts

    def sound(self, now: datetime) -> "Pace":
        """The pace without what was reserved too far ahead: our clock was set back since."""
        far = self.next_at is not None and self.next_at > now + self.step + LONGEST_AHEAD
        return replace(self, next_at=None) if far else self
