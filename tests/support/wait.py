"""Waiting for an event, with a deadline."""

import time
from collections.abc import Callable


def wait_until(happened: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Looks until `happened` is true; an AssertionError names what did not happen."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"in {seconds} s it did not happen: {what}"
        time.sleep(0.01)
