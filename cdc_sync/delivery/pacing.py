"""The pace as delivery keeps it: in the state, so that a restart is no way around a limit."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from cdc_sync.config.units import Rate
from cdc_sync.rules.pace import Pace
from cdc_sync.state import control

log = structlog.get_logger()


class Pacing:
    """When requests may start; known once the state was asked."""

    def __init__(self, limit: Rate | None) -> None:
        self._limit = limit
        self._pace: Pace | None = None

    @property
    def next_at(self) -> datetime | None:
        """No request starts before it."""
        return self._pace.next_at if self._pace else None

    @property
    def step_seconds(self) -> float:
        """The time between two requests; 0: none."""
        return self._pace.step.total_seconds() if self._pace else 0.0

    def learn(self, tx: Connection) -> None:
        """Where the process before left it."""
        if self._pace is None:
            self._pace = Pace.going_on(self._limit, control.get(tx, control.PACE))

    def room(self, now: datetime, within: timedelta) -> int | None:
        """How many requests may start within a time: None any number, 0 while it is not known."""
        if self._pace is None:
            return 0
        self._pace = self._pace.sound(now)
        return self._pace.room(now, within)

    def reserve(self, tx: Connection, now: datetime, count: int) -> list[datetime]:
        """When so many requests may start, kept as part of `tx`."""
        self.learn(tx)
        if self._pace is None or not count:
            return []
        self._pace, starts = self._pace.reserve(now, count)
        if self._pace.per_second is not None:
            control.put(tx, control.PACE, self._pace.document())
        return starts

    def given_back(self, earliest: datetime) -> None:
        """Nothing that was to start from an instant on has left."""
        self._pace = self._pace and self._pace.given_back(earliest)

    def answered(self) -> None:
        """An answer came that is no 429."""
        self._pace = self._pace and self._pace.answered(1)

    def throttled(self, now: datetime, wait: timedelta) -> None:
        """A 429 makes everybody wait, and go on more slowly."""
        if self._pace is not None:
            self._pace = self._pace.throttled(now, wait)
            log.info("api.slower", per_second=round(self._pace.per_second or 0.0, 3))
