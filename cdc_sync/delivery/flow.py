"""The pace as delivery keeps it: in the state, for all daemons and restarts together.

Its instants are those of the state's clock, which on PostgreSQL is the server's: no two machines
have the same.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from cdc_sync.config.units import Rate
from cdc_sync.customergauge.token import Token, TokenKeeper
from cdc_sync.errors import TokenMisplaced, TokenRefused, TokenThrottled, TokenUnavailable
from cdc_sync.rules.gate import PROBE_LONGEST, Gate
from cdc_sync.rules.pace import Pace, SharedPace
from cdc_sync.rules.verdict import LONGEST, ApiState, backoff
from cdc_sync.state import control
from cdc_sync.state.database import is_shared, state_now

log = structlog.get_logger()
# Others go on while we stall: a turn that we miss by more is lost, or two would take it at once.
LATE = timedelta(milliseconds=20)
LEAD_LONGEST = timedelta(seconds=3)


class Turn(NamedTuple):
    """When a request may start; `not_after` None: at any time from then on."""

    not_before: datetime
    not_after: datetime | None


class Pacing:
    """When requests may start; known once the state was asked."""

    def __init__(self, limit: Rate | None) -> None:
        self._limit = limit
        self._pace: Pace | None = None
        self._ahead = timedelta(0)  # of our clock
        self._lead = timedelta(0)  # what it takes from reserving a turn until it can be taken
        self._shared = False
        self._is_news = False  # our own 429, which others do not know of
        self._taken = 0  # answers since then that were none

    @property
    def next_at(self) -> datetime | None:
        """No request starts before it, by our clock."""
        next_at = self._pace.next_at if self._pace else None
        return None if next_at is None else next_at - self._ahead

    @property
    def step_seconds(self) -> float:
        """The time between two requests; 0: none."""
        return self._pace.step.total_seconds() if self._pace else 0.0

    def waits(self, now: datetime) -> timedelta | None:
        """For how long everybody waits for a 429 still; None where nobody does."""
        until = self._pace.until if self._pace else None
        left = until - self.their_time(now) if until else timedelta(0)
        return left if timedelta(0) < left <= LONGEST else None

    def submitted(self, after: timedelta) -> None:
        """What was reserved could leave so long after it was asked for."""
        self._lead = min(LEAD_LONGEST, max(after, 0.9 * self._lead))

    def their_time(self, now: datetime) -> datetime:
        """An instant of our clock by that of the state."""
        return now + self._ahead

    def learn(self, tx: Connection, now: datetime) -> None:
        """What the process before, or others beside us, have kept; and how the clocks differ."""
        if self._pace is None:
            self._pace = Pace.going_on(self._limit, control.load(tx, SharedPace))
        elif is_shared(tx):
            self._join(control.load(tx, SharedPace))
        self._ahead = state_now(tx, now) - now
        self._shared = is_shared(tx)

    def room(self, now: datetime, within: timedelta) -> int | None:
        """How many requests may start within a time: None any number, 0 while it is not known."""
        if self._pace is None:
            return 0
        now = self.their_time(now)
        self._pace = self._pace.sound(now)
        return self._pace.room(now, within)

    def reserve(self, tx: Connection, now: datetime, count: int) -> list[Turn]:
        """When so many requests may start, by our clock; kept as part of `tx`."""
        self.keep(tx)
        if self._pace is None or not count:
            return []
        lead = self._lead if self._shared else timedelta(0)
        pace, self._taken = self._pace.answered(self._taken), 0
        self._pace, starts = pace.reserve(self.their_time(now) + lead, count)
        if self._pace.per_second is not None:
            control.save(tx, self._pace.shared())
        ours = [start - self._ahead for start in starts]
        has_end = self._shared and self.step_seconds > 0
        return [Turn(start, start + LATE if has_end else None) for start in ours]

    def keep(self, tx: Connection) -> None:
        """Joins what others have kept, who wait for `tx` from now on, and tells them of a 429."""
        if is_shared(tx):
            self._join(control.load_locked(tx, SharedPace))
        if self._is_news and self._pace is not None:
            control.save(tx, self._pace.shared())
            self._is_news = False

    def tell(self, tx: Connection) -> None:
        """Tells others of a 429, where there was one."""
        if self._is_news:
            self.keep(tx)

    def given_back(self, earliest: datetime) -> None:
        """Nothing of ours that was to start from an instant on has left."""
        self._pace = self._pace and self._pace.given_back(self.their_time(earliest))

    def answered(self) -> None:
        """An answer came that is no 429."""
        self._taken += 1

    def throttled(self, now: datetime, wait: timedelta) -> None:
        """A 429 makes everybody wait, and go on more slowly."""
        if self._pace is not None:
            pace = self._pace.answered(self._taken)
            self._pace = pace.throttled(self.their_time(now), wait)
            self._is_news, self._taken = True, 0
            log.info("api.slower", per_second=round(self._pace.per_second or 0.0, 3))

    def _join(self, stored: SharedPace | None) -> None:
        if self._pace is not None and stored is not None:
            ours = self._pace.joined(stored)
            self._pace = ours.slowed_as(self._pace) if self._is_news else ours


class Access:
    """Asks the keeper for a token when one is due; a failure shuts the gate, blaming nobody."""

    def __init__(self, tokens: TokenKeeper, wake: Callable[[], None]) -> None:
        self._tokens = tokens
        self._wake = wake
        self._told: TokenUnavailable | None = None
        self._tries = 0
        self._not_before: datetime | None = None

    def token(self) -> Token | None:
        """The token to send now, if there is one."""
        return self._tokens.current()

    def refused(self, token: Token | None) -> bool:
        """Drops a token that CustomerGauge refuses; False where it was replaced already."""
        return token is not None and self._tokens.refused(token)

    def failed(self) -> bool:
        """Whether there is no token and the last request for one failed, not only for now."""
        is_over = self._told is not None and not isinstance(self._told, TokenThrottled)
        return is_over and self._tokens.current() is None

    def retried(self, gate: Gate) -> Gate:
        """A person's word: the next request for a token is due at once."""
        self._not_before = None
        return gate

    def renew_if_due(self, gate: Gate, now: datetime) -> Gate:
        """Takes note of how the last request ended, starts the next one; the gate after that."""
        gate = self._noted(gate, now)
        # Further away than any wait there is: our clock was set back since.
        waits = self._not_before is not None and now < self._not_before <= now + LONGEST
        # A stop needs no token before its next probe.
        waits = waits or (gate.is_probing and gate.is_shut(now))
        if not waits and self._tokens.wants_renewal():
            self._tokens.renew(self._wake)
        return gate

    def _noted(self, gate: Gate, now: datetime) -> Gate:
        failure = self._tokens.failure
        if failure is self._told:
            return gate
        self._told = failure
        if failure is None:
            self._tries, self._not_before = 0, None
            log.info("token.recovered")
            return gate.renewed()
        return self._after_failure(failure, gate, now)

    def _after_failure(self, failure: TokenUnavailable, gate: Gate, now: datetime) -> Gate:
        self._tries += 1
        asked = timedelta(seconds=failure.wait_seconds or 0)
        wait = max(asked, backoff(self._tries, random.random(), PROBE_LONGEST))  # noqa: S311
        self._not_before = now + wait
        if self._tries == 1:
            log.warning("token.unavailable", reason=str(failure))
        if self._tokens.current() is not None:
            return gate  # the one at hand is still good
        return gate.stopped(_state_of(failure), str(failure), now, wait)


def _state_of(failure: TokenUnavailable) -> ApiState:
    if isinstance(failure, TokenRefused):
        return ApiState.UNAUTHORIZED
    if isinstance(failure, TokenThrottled):
        return ApiState.THROTTLED
    misplaced = isinstance(failure, TokenMisplaced)
    return ApiState.MISCONFIGURED if misplaced else ApiState.UNREACHABLE
