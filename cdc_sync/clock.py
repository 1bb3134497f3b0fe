"""The only readings of the system's clocks; everything else is given `now`."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# It goes on while the machine sleeps, and only Linux has it.
_UNSET = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def utc_now() -> datetime:
    """Now, as an aware instant in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # this is the clock


def steady_clock(now: Callable[[], datetime]) -> Callable[[], datetime]:
    """Returns a clock that begins at `now()` and goes on evenly when the system's clock is set."""
    start, began = now(), time.clock_gettime(_UNSET)
    return lambda: start + timedelta(seconds=time.clock_gettime(_UNSET) - began)
