"""When anything may be sent: the gate, the pace and the token, owned by one object.

The gate is how CustomerGauge treats us (rules.gate). The pace (rules.pace) is kept in the state,
for all daemons and restarts together; its instants are those of the state's clock, which on
PostgreSQL is the server's: no two machines have the same.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection

from cdc_sync.config.units import Rate
from cdc_sync.customergauge.sender import Sent
from cdc_sync.customergauge.token import Token, TokenKeeper
from cdc_sync.errors import TokenMisplaced, TokenRefused, TokenThrottled, TokenUnavailable
from cdc_sync.rules.gate import PROBE_LONGEST, ApiStatus, Gate
from cdc_sync.rules.pace import Pace, SharedPace
from cdc_sync.rules.verdict import (
    LONGEST,
    Answer,
    ApiState,
    Throttled,
    TokenRejected,
    Verdict,
    backoff,
)
from cdc_sync.state import control
from cdc_sync.state.database import is_shared, state_now
from cdc_sync.state.values import ProbeRequest

log = structlog.get_logger()
AHEAD = timedelta(seconds=1)  # no more is claimed than can leave within it
# Others go on while we stall: a slot that we miss by more is lost, or two would take it at once.
LATE = timedelta(milliseconds=20)
LEAD_LONGEST = timedelta(seconds=3)


class Slot(NamedTuple):
    """When a request may start; `not_after` None: at any time from then on."""

    not_before: datetime
    not_after: datetime | None


class Flow:
    """Decides whether and when requests may leave. For delivery's thread, except `token`."""

    def __init__(self, tokens: TokenKeeper, limit: Rate | None, wake: Callable[[], None]) -> None:
        self.gate = Gate()
        self.is_paused = False  #: by a person
        self._tokens = tokens
        self._pacing = _Pacing(limit)
        self._wake = wake
        self._saved_status: ApiStatus | None = None
        self._probe_request: ProbeRequest | None = None
        self._failure: TokenUnavailable | None = None  # of the last request for a token
        self._token_tries = 0
        self._no_token_before: datetime | None = None

    def load(self, tx: Connection, now: datetime) -> None:
        """Reads what persons asked for, and what other processes know of the pace."""
        self.is_paused = control.is_paused(tx)
        self._pacing.load(tx, now)
        wait = self._pacing.throttled_for(now)
        if wait is not None and self.gate.state is ApiState.OK:
            # A 429 of a process before us, or of another one beside us.
            self._set_gate(self.gate.stopped(ApiState.THROTTLED, "429", now, wait))
        request = control.load(tx, ProbeRequest)
        if request != self._probe_request:
            self._probe_request = request
            self._no_token_before = None  # the next request for a token is due at once, too
            self._set_gate(self.gate.resumed(now))

    @property
    def unsaved(self) -> bool:
        """Whether the gate is another one than the state knows."""
        return self._saved_status != self.gate.status()

    def save(self, tx: Connection) -> None:
        """Stores the gate for `status`, and a 429 for all who send beside us.

        To be called after everything else of `tx` but a claim, which comes to the pace last, too:
        two processes lock the rows in one order.
        """
        if self.unsaved:
            control.save(tx, self.gate.status())
        self._pacing.save_throttled(tx)

    def saved(self) -> None:
        """Notes that the transaction of `save` was committed."""
        self._saved_status = self.gate.status()
        self._pacing.saved()

    def room(self, now: datetime, wanted: int) -> int:
        """Returns how many requests may be claimed now, of so many that are wanted."""
        if self.is_paused or self.token() is None:
            return 0
        paced = self._pacing.room(now)
        return self.gate.room(now, wanted if paced is None else min(wanted, paced))

    def schedule(self, tx: Connection, now: datetime, count: int) -> list[Slot]:
        """Reserves slots for so many requests as part of `tx`, and returns them."""
        return self._pacing.reserve(tx, now, count)

    def submitted(self, delay: timedelta) -> None:
        """Notes that scheduled requests could leave so long after they were asked for."""
        self._set_gate(self.gate.claimed())
        self._pacing.submitted(delay)

    def unsent(self, began: datetime) -> None:
        """Takes back a request that never left; it was to start at an instant."""
        self._set_gate(self.gate.unsent())
        self._pacing.give_back(began)

    def apply(self, verdict: Verdict, sent: Sent[Any], who: str) -> None:
        """Changes gate and pace by the verdict on an answer about a contract or account `who`."""
        if isinstance(verdict, TokenRejected) and not self._drop_token(sent.token):
            # A token that was replaced meanwhile says nothing about the one we have; if this was
            # the probe, another one may leave.
            self._set_gate(self.gate.unsent())
            return
        now = sent.ended
        is_new = isinstance(verdict, Throttled) and not self.gate.everybody_waits(now)
        self._set_gate(self.gate.after(verdict, now, random.random(), who))  # noqa: S311
        if is_new and self.gate.shut_until is not None:
            self._pacing.throttle(now, self.gate.shut_until - now)
        elif isinstance(sent.reply, Answer) and not isinstance(verdict, Throttled):
            self._pacing.count_answer()

    def token(self) -> Token | None:
        """Returns the token to send now, if there is one. For any thread."""
        return self._tokens.current()

    def step_seconds(self) -> float:
        """Returns the time between two requests; 0: none. For any thread."""
        return self._pacing.step_seconds

    def to_state_time(self, now: datetime) -> datetime:
        """Returns an instant of our clock by that of the state."""
        return self._pacing.to_state_time(now)

    def opens_in(self, now: datetime) -> float | None:
        """Returns for how many seconds nothing may be claimed; None if that is not known."""
        if self.gate.shut_until is not None and self.gate.shut_until > now:
            return (self.gate.shut_until - now).total_seconds()
        next_at = self._pacing.next_at
        if next_at is not None and next_at > now + AHEAD / 2:
            return (next_at - now - AHEAD / 2).total_seconds()
        return None

    def stopped_by(self) -> str | None:
        """Returns why nothing may leave now; None where it may."""
        if self.is_paused:
            return "Delivery is paused by a person: cdc-sync resume"
        if self.gate.state in (ApiState.OK, ApiState.THROTTLED):
            return None
        return f"CustomerGauge is {self.gate.state}: {self.gate.reason}"

    def has_no_token(self) -> bool:
        """Whether there is no token and the last request for one failed, not only for now."""
        is_over = self._failure is not None and not isinstance(self._failure, TokenThrottled)
        return is_over and self.token() is None

    def renew_token(self, now: datetime) -> None:
        """Takes note of how the last request for a token ended, and starts the next one if due."""
        if self._tokens.failure is not self._failure:
            self._note_token_request(self._tokens.failure, now)
        before = self._no_token_before
        # Further away than any wait there is: our clock was set back since.
        waits = before is not None and now < before <= now + LONGEST
        # A stop needs no token before its next probe.
        waits = waits or (self.gate.is_probing and self.gate.is_shut(now))
        if not waits and self._tokens.wants_renewal():
            self._tokens.renew(self._wake)

    def _note_token_request(self, failure: TokenUnavailable | None, now: datetime) -> None:
        self._failure = failure
        if failure is None:
            self._token_tries, self._no_token_before = 0, None
            log.info("token.recovered")
            self._set_gate(self.gate.renewed())
            return
        self._token_tries += 1
        asked = timedelta(seconds=failure.wait_seconds or 0)
        growing = backoff(self._token_tries, random.random(), PROBE_LONGEST)  # noqa: S311
        wait = max(asked, growing)
        self._no_token_before = now + wait
        if self._token_tries == 1:
            log.warning("token.unavailable", reason=str(failure))
        if self.token() is None:  # else the one at hand is still good
            self._set_gate(self.gate.stopped(_state_after(failure), str(failure), now, wait))

    def _drop_token(self, token: Token | None) -> bool:
        """Drops a token that CustomerGauge refuses; False where it was replaced already."""
        return token is not None and self._tokens.refused(token)

    def _set_gate(self, gate: Gate) -> None:
        before, self.gate = self.gate, gate
        if gate.state is not before.state:
            event = "api.recovered" if gate.state is ApiState.OK else f"api.{gate.state}"
            level = log.info if gate.state is ApiState.OK else log.warning
            level(event, reason=gate.reason, before=before.state.value)


def _state_after(failure: TokenUnavailable) -> ApiState:
    if isinstance(failure, TokenRefused):
        return ApiState.UNAUTHORIZED
    if isinstance(failure, TokenThrottled):
        return ApiState.THROTTLED
    return ApiState.MISCONFIGURED if isinstance(failure, TokenMisplaced) else ApiState.UNREACHABLE


class _Pacing:
    """The pace, and how our clock differs from the state's. Known once the state was asked."""

    def __init__(self, limit: Rate | None) -> None:
        self._limit = limit
        self._pace: Pace | None = None
        self._offset = timedelta(0)  # of the state's clock to ours
        self._lead = timedelta(0)  # what it takes from reserving a slot until it can be used
        self._is_shared = False
        self._has_news = False  # a 429 of ours, which others do not know of
        self._is_written = False  # in a transaction that is not committed yet
        self._answers = 0  # since then, that were no 429
        self.step_seconds = 0.0  #: between two requests, as of the last reservation

    @property
    def next_at(self) -> datetime | None:
        """No request starts before it, by our clock."""
        next_at = self._pace.shared.next_at if self._pace else None
        return None if next_at is None else next_at - self._offset

    def to_state_time(self, now: datetime) -> datetime:
        return now + self._offset

    def load(self, tx: Connection, now: datetime) -> None:
        """Reads what the process before, or others beside us, have kept; and the state's clock."""
        self._is_shared = is_shared(tx)
        if self._pace is None:
            self._pace = Pace.going_on(self._limit, control.load(tx, SharedPace))
        elif self._is_shared:
            self._merge(control.load(tx, SharedPace))
        self._offset = state_now(tx, now) - now

    def throttled_for(self, now: datetime) -> timedelta | None:
        """Returns how much is left of a 429's wait; None if nothing."""
        until = self._pace.shared.until if self._pace else None
        left = until - self.to_state_time(now) if until else timedelta(0)
        return left if timedelta(0) < left <= LONGEST else None

    def room(self, now: datetime) -> int | None:
        """Returns how many may start within AHEAD: None any number, 0 while it is not known."""
        if self._pace is None:
            return 0
        now = self.to_state_time(now)
        self._pace = self._pace.without_far_reservations(now)
        return self._pace.room(now, AHEAD)

    def reserve(self, tx: Connection, now: datetime, count: int) -> list[Slot]:
        self._publish(tx)
        if self._pace is None or not count:
            return []
        lead = self._lead if self._is_shared else timedelta(0)
        pace, self._answers = self._pace.answered(self._answers), 0
        begin = self.to_state_time(now) + lead
        self._pace, starts = pace.reserve(begin, count)
        self.step_seconds = pace.step(begin).total_seconds()
        if self.step_seconds:
            control.save(tx, self._pace.shared)
        has_end = self._is_shared and self.step_seconds > 0
        return [
            Slot(start, start + LATE if has_end else None)
            for start in (start - self._offset for start in starts)
        ]

    def save_throttled(self, tx: Connection) -> None:
        """Tells others of a 429, where there was one."""
        if self._has_news:
            self._publish(tx)

    def saved(self) -> None:
        """Notes that what was written of a 429 is committed: others know of it."""
        self._has_news = self._has_news and not self._is_written
        self._is_written = False

    def submitted(self, delay: timedelta) -> None:
        self._lead = min(LEAD_LONGEST, max(delay, 0.9 * self._lead))

    def give_back(self, earliest: datetime) -> None:
        """Frees the slots from an instant on: nothing that was to start then has left."""
        self._pace = self._pace and self._pace.given_back(self.to_state_time(earliest))

    def count_answer(self) -> None:
        self._answers += 1

    def throttle(self, now: datetime, wait: timedelta) -> None:
        """Makes all who send wait for a 429, and go on more slowly."""
        if self._pace is not None:
            pace = self._pace.answered(self._answers)
            self._pace = pace.throttled(self.to_state_time(now), wait)
            self._has_news, self._is_written, self._answers = True, False, 0
            slower = self._pace.per_second(self.to_state_time(now))
            log.info("api.slower", per_second=round(slower or 0.0, 3))

    def _publish(self, tx: Connection) -> None:
        """Merges what others have kept, who wait for `tx` from now on, and stores a 429 of ours."""
        if self._is_shared:
            self._merge(control.load_locked(tx, SharedPace))
        if self._has_news and self._pace is not None:
            control.save(tx, self._pace.shared)
            self._is_written = True

    def _merge(self, stored: SharedPace | None) -> None:
        if self._pace is not None and stored is not None:
            merged = self._pace.joined(stored)
            self._pace = merged.slowed_as(self._pace) if self._has_news else merged
