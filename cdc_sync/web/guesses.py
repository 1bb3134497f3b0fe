"""Wrong tokens: each costs who sent it a moment, and the log has them without being flooded."""

import threading
from asyncio import sleep
from time import monotonic

import structlog
from anyio import CapacityLimiter

log = structlog.get_logger()

SLOWED_BY = 1.0  # seconds
AT_A_TIME = 4  # so that guessing from many connections is no faster
TOLD_EVERY = 60.0  # seconds


class Guesses:
    """Wrong tokens since the start; who sends the right one waits for none of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limiter = CapacityLimiter(AT_A_TIME)
        self._untold = 0
        self._due = 0.0

    async def wrong(self, address: str) -> None:
        """One more, from this address."""
        self._tell(address)
        async with self._limiter:
            await sleep(SLOWED_BY)

    def _tell(self, address: str) -> None:
        with self._lock:
            self._untold += 1
            if monotonic() < self._due:
                return
            count, self._untold = self._untold, 0
            self._due = monotonic() + TOLD_EVERY
        log.warning("page.login_refused", count=count, latest_from=address)
