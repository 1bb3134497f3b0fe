"""The only reading of the wall clock; everything else is given `now`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, as an aware instant in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # this is the clock
