"""What a crash test may not have seen of the rate limit: it is one for all daemons together."""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil

from bench.chaos.judge import Put

SECONDS = 10.0  # so long it is counted: what a busy machine delays arrives all at once
JITTER = 1.05


def too_fast(puts: Sequence[Put], per_second: float) -> list[str]:
    """Spans in which more PUTs began than the rate allows."""
    starts = sorted(put.started for put in puts)
    most = ceil(SECONDS * per_second * JITTER)
    return [
        f"{most + 1} PUTs in {starts[n + most] - starts[n]:.2f} s"
        for n in range(len(starts) - most)
        if starts[n + most] - starts[n] < SECONDS
    ]


def most_in_a_second(puts: Sequence[Put]) -> int:
    """How many PUTs began within one second, at most."""
    starts = sorted(put.started for put in puts)
    return max((bisect_left(starts, at + 1) - n for n, at in enumerate(starts)), default=0)
