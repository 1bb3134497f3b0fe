"""The token as delivery needs it: at hand before anything is claimed, renewed with back-off."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from cdc_sync.customergauge.token import Token, TokenKeeper
from cdc_sync.errors import TokenMisplaced, TokenRefused, TokenThrottled, TokenUnavailable
from cdc_sync.rules.backoff import LONGEST, backoff
from cdc_sync.rules.gate import PROBE_LONGEST, Gate
from cdc_sync.rules.verdict import ApiState

log = structlog.get_logger()


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
