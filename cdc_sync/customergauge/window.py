"""How many requests went out in the last while, by when each of them really did.

Evenly spaced starts alone are not enough: a request that has to open its connection first goes out
later than it started, beside those that started after it.
"""

from collections import deque
from collections.abc import Callable


class Window:
    """Counts departures; for one thread, times by one clock that does not go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._departed: deque[float] = deque()
        self._starting = 0

    def start(self) -> "Departure":
        """One more that may go out at any moment from now on."""
        self._starting += 1
        return Departure(self._ended)

    def full_for(self, most: int, seconds: float) -> float:
        """How long until one more may start, so that in no such time more than `most` go out."""
        since = self._clock() - seconds
        while self._departed and self._departed[0] <= since:
            self._departed.popleft()
        excess = len(self._departed) + self._starting - most
        if excess < 0:
            return 0.0
        if excess < len(self._departed):
            return self._departed[excess] - since
        return seconds / most  # those that are starting fill it alone: asked again soon

    def _ended(self, *, went_out: bool) -> None:
        self._starting -= 1
        if went_out:
            self._departed.append(self._clock())


class Departure:
    """A request between its start and its way out; what is called twice counts once."""

    __slots__ = ("_end",)

    def __init__(self, end: Callable[..., None]) -> None:
        self._end: Callable[..., None] | None = end

    def went_out(self) -> None:
        """It is on the wire."""
        self._close(went_out=True)

    def is_over(self) -> None:
        """It has ended; where it never went out, it counts as nothing."""
        self._close(went_out=False)

    def _close(self, *, went_out: bool) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(went_out=went_out)
