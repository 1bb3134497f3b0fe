"""The log of the last hour, in memory: bounded in time, in lines and in the length of each."""

import threading
from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cdc_sync.clock import utc_now

KEPT = timedelta(hours=1)
MOST_LINES = 2000
LONGEST = 500  # characters of a value
_APART = {"event", "level", "timestamp"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the log."""

    at: datetime
    level: str
    event: str
    fields: tuple[tuple[str, str], ...]


class RecentLog:
    """A processor of structlog that keeps what passes; it stands behind the one that redacts."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        self.count = 0  #: of all lines that ever passed

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Keeps an event, and hands it on as it is."""
        fields = tuple(
            (name, _shown(name, value))
            for name, value in event.items()
            if name not in _APART and value is not None
        )
        line = Line(self._now(), str(event.get("level", method)), str(event["event"]), fields)
        with self._lock:
            self._lines.append(line)
            self.count += 1
        return event

    def lines(self) -> list[Line]:
        """The newest first."""
        since = self._now() - KEPT
        with self._lock:
            return [line for line in reversed(self._lines) if line.at >= since]


def _shown(name: str, value: Any) -> str:
    text = str(value).strip()
    if name == "exception":
        text = text.rpartition("\n")[2]  # the page is no place for a traceback and its paths
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
