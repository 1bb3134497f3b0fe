"""How long to wait: per contract, and for everybody when CustomerGauge asks for it."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(minutes=15)
_MAX_DOUBLINGS = 10  # 2**10 s is past LONGEST; keeps the number small after years of tries


def backoff(tries: int, jitter: float, longest: timedelta = LONGEST) -> timedelta:
    """The wait before the next try, after `tries` (at least 1) that failed.

    `jitter`, in [0, 1), spreads contracts that failed together over the second half of the wait,
    which is never below 1 s.
    """
    wait = min(longest, SHORTEST * (1 << min(tries, _MAX_DOUBLINGS)))
    return wait * (0.5 + jitter / 2)


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for (RFC 9110, 10.2.3): seconds or a date; None if nothing.

    Never below 1 s and never above 15 min, whatever it says.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=min(int(text[:10]), 10**6))
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        asked = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return max(SHORTEST, min(LONGEST, asked))
