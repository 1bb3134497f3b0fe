"""The rate limit as a value: when the next requests may start, evenly spaced, without a burst."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

SPARE = (
    1.01  # a share kept free, so that late wake-ups of ours never make N + 1 in a second of theirs
)


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_second` None: no limit; `next_at`: no request starts before it."""

    per_second: float | None
    next_at: datetime | None = None

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
