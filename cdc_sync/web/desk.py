"""What the page shows and acts on, held together; a snapshot of the status for all viewers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdc_sync.config.model import Config
from cdc_sync.log import RecentLog
from cdc_sync.measures import Measures
from cdc_sync.operations.status import read_status
from cdc_sync.state.database import Database
from cdc_sync.web.asking import Asking
from cdc_sync.web.health import Vitals

FRESH_SECONDS = 0.9
FRESH_AT_MOST = 1.8  # `status` is never more than 2 s behind, also where counting takes long
SHARE_OF_TIME = 0.02  # of one core, that goes into counting a large state for the page
RECENT_SECONDS = 5.0  # the daemon takes one at least so often, for its own line in systemd


class Snapshots:
    """The status document, read once for everybody who looks within a second."""

    def __init__(self, state: Database, now: Callable[[], datetime]) -> None:
        self._state = state
        self._now = now
        self._lock = threading.Lock()
        self._taken_at: float | None = None
        self._cost = 0.0
        self._document: dict[str, Any] = {}

    def latest(self) -> dict[str, Any]:
        """`status --json` and what else `read_status` knows. Raises StateUnavailable."""
        fresh = max(FRESH_SECONDS, min(FRESH_AT_MOST, self._cost / SHARE_OF_TIME))
        return self._younger_than(fresh)

    def recent(self) -> dict[str, Any]:
        """One that is at hand, for a page that follows at once what is newer."""
        return self._younger_than(RECENT_SECONDS)

    def taken(self) -> dict[str, Any]:
        """One of now."""
        return self._younger_than(0.0)

    def expire(self) -> None:
        """Somebody has just acted: the next look is a fresh one."""
        with self._lock:
            self._taken_at = None

    def _younger_than(self, seconds: float) -> dict[str, Any]:
        with self._lock:
            began = time.monotonic()
            if self._taken_at is None or began - self._taken_at >= seconds:
                self._document = read_status(self._state, self._now())
                self._taken_at, self._cost = began, time.monotonic() - began
            return self._document


@dataclass(slots=True)
class Desk:
    """A running sync, as the page needs it; a reload gives it another `config`."""

    config: Config
    state: Database
    measures: Measures
    recent: RecentLog
    vitals: Callable[[], Vitals]
    wake: Callable[[], None]  #: something may be due now
    now: Callable[[], datetime]
    sandbox_url: str | None = None  #: the stand-in's own page, beside the demo's
    asking: Asking = field(default_factory=Asking)
    snapshots: Snapshots = field(init=False)
    acts: int = 0  #: how often a person acted: what was rendered before is old
    began: datetime = field(init=False)  #: what is measured is measured since then

    def __post_init__(self) -> None:
        self.began = self.now()
        self.snapshots = Snapshots(self.state, self.now)

    def acted(self) -> None:
        """A person's action is in the state: delivery heeds it at once, and so does the page."""
        self.snapshots.expire()
        self.acts += 1
        self.wake()
