"""The circuit breaker that all PUTs go through, as a value: open, shut for a while, or half open.

It joins all reasons to stop: a 429's wait, a stop because the set-up is wrong, the circuit
breaker, and the suspicion that the mapping is wrong because contract after contract is refused.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cdc_sync.rules.verdict import (
    LONGEST,
    STOPS_ALL,
    Accepted,
    AccountMissing,
    ApiState,
    Halted,
    Meaning,
    Refused,
    Reply,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Verdict,
    backoff,
    is_about_account,
    meaning_of,
)
from cdc_sync.wording import format_problems

BREAKER_AFTER = 5  # failures in a row after which only single probes leave
REFUSING_AFTER = 20  # contracts refused in a row after which the set-up is suspected
PROBE_LONGEST = timedelta(minutes=5)
REFUSING_PROBE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """How CustomerGauge treats us, for `status`: nothing is sent before `paused_until`."""

    state: ApiState = ApiState.OK
    reason: str | None = None
    since: datetime | None = None
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether anything may be sent. `shut_until` None: open; `tries`: waits in a row so far."""

    state: ApiState = ApiState.OK
    reason: str | None = None
    since: datetime | None = None
    shut_until: datetime | None = None
    tries: int = 0
    failures: int = 0
    refused: frozenset[str] = frozenset()  #: different ones in a row, none accepted between
    tokens_refused: int = 0
    probing: bool = False

    def status(self) -> ApiStatus:
        """Returns what of the gate the state keeps for `status`."""
        return ApiStatus(self.state, self.reason, self.since, self.shut_until)

    @property
    def is_probing(self) -> bool:
        """Whether only single probes leave."""
        return self.state not in (ApiState.OK, ApiState.THROTTLED)

    def room(self, now: datetime, wanted: int) -> int:
        """How many contracts may be claimed now."""
        if self.is_shut(now):
            return 0
        if not self.is_probing:
            return wanted
        return 0 if self.probing else min(wanted, 1)

    def claimed(self) -> "Gate":
        """The gate after a claim: behind a shut one, that claim is the one probe."""
        return replace(self, probing=True) if self.is_probing else self

    def unsent(self) -> "Gate":
        """The gate after a claim was given back: a probe that did not leave is none."""
        return replace(self, probing=False)

    def resumed(self, now: datetime) -> "Gate":
        """A person's word: the next probe is due at once. It does not shorten a 429's wait."""
        if self.state is ApiState.THROTTLED:
            return self
        if self.state is ApiState.REFUSING:
            return Gate()
        return replace(self, shut_until=now if self.shut_until else None)

    def renewed(self) -> "Gate":
        """The gate after the token endpoint gave a token again."""
        stopped = self.state in (ApiState.UNAUTHORIZED, ApiState.UNREACHABLE)
        return Gate(refused=self.refused) if stopped and not self.tokens_refused else self

    def after(self, verdict: Verdict, now: datetime, jitter: float, who: str) -> "Gate":
        """The gate after one answer, which was about the contract or account `who`."""
        if self.everybody_waits(now) and not isinstance(verdict, Throttled):
            # It answers what left before the 429 came, and shortens nobody's wait.
            return self
        match verdict:
            case Accepted():
                return OPEN
            case Refused():
                return self._after_refusal(verdict, now, who)
            case AccountMissing() if self.state is ApiState.REFUSING:
                return self._shut(self.state, self.reason or "", now, REFUSING_PROBE)
            case AccountMissing() | TryLater():
                return self._opened()
            case Throttled(asked):
                return self._shut(
                    ApiState.THROTTLED, "429", now, asked or backoff(self.tries + 1, jitter)
                )
            case Unavailable(why):
                return self._after_failure(why, now, jitter)
            case TokenRejected(state, why):
                return self._after_token(state, why, now)
            case Halted(state, why):
                return self.stopped(state, why, now)

    def stopped(
        self, state: ApiState, why: str, now: datetime, wait: timedelta | None = None
    ) -> "Gate":
        """Delivery stops for `wait`; None: one probe at 1, 2, 4 … s, at most every 5 min."""
        growing = min(PROBE_LONGEST, timedelta(seconds=1) * (1 << min(self.tries, 9)))
        return self._shut(state, why, now, wait or growing)

    def everybody_waits(self, now: datetime) -> bool:
        """Whether a 429's wait is not over."""
        return self.state is ApiState.THROTTLED and self.is_shut(now)

    def is_shut(self, now: datetime) -> bool:
        """Whether nothing leaves now, a probe neither."""
        # Further away than any wait there is: our clock was set back since.
        return self.shut_until is not None and now < self.shut_until <= now + LONGEST

    def _opened(self) -> "Gate":
        return replace(Gate(), refused=self.refused)

    def _after_refusal(self, verdict: Refused, now: datetime, who: str) -> "Gate":
        # One that is refused again and again says nothing of the others.
        is_known = len(self.refused) >= REFUSING_AFTER
        refused = self.refused if is_known else self.refused | {who}
        if len(refused) < REFUSING_AFTER:
            return replace(Gate(), refused=refused)
        first = verdict.problems[0] if verdict.problems else None
        why = format_problems([first]) if first else "contracts are refused"
        shut = self._shut(ApiState.REFUSING, why, now, REFUSING_PROBE)
        return replace(shut, refused=refused, failures=0, tokens_refused=0)

    def _after_failure(self, why: str, now: datetime, jitter: float) -> "Gate":
        failures = self.failures + 1
        if failures < BREAKER_AFTER and self.state in (ApiState.OK, ApiState.THROTTLED):
            return replace(self, failures=failures)
        wait = backoff(self.tries + 1, jitter, PROBE_LONGEST)
        return replace(self._shut(ApiState.UNREACHABLE, why, now, wait), failures=failures)

    def _after_token(self, state: ApiState, why: str, now: datetime) -> "Gate":
        refused = self.tokens_refused + 1
        if refused < 2:  # a fresh token, once
            return replace(self, tokens_refused=refused, probing=False)
        return replace(self.stopped(state, why, now), tokens_refused=refused)

    def _shut(self, state: ApiState, why: str, now: datetime, wait: timedelta) -> "Gate":
        until = now + min(wait, LONGEST)
        if self.state is state and self.shut_until is not None and self.is_shut(now):
            # Another answer of the same moment: it makes nothing worse, but a 429 may ask for more.
            longer = max(until, self.shut_until) if state is ApiState.THROTTLED else self.shut_until
            return replace(self, shut_until=longer, probing=False)
        same = self.state is state
        return replace(
            self,
            state=state,
            reason=why,
            since=self.since if same else now,
            shut_until=until,
            tries=self.tries + 1 if same else 1,
            probing=False,
        )


OPEN = Gate()


def count_refusals(refused: int, reply: Reply) -> int:
    """Returns how many contracts in a row are refused after this reply; failures are skipped."""
    if meaning_of(reply) is Meaning.ACCEPTED:
        return 0
    return refused + 1 if _is_refusal(reply) else refused


def should_stop_sending(reply: Reply, refused: int) -> bool:
    """Whether what has not left yet should not leave; `refused` as `count_refusals` has it.

    For the loop that sends: the gate judges likewise, but only once answers are collected.
    """
    if _is_refusal(reply):
        return refused >= REFUSING_AFTER
    return meaning_of(reply) in STOPS_ALL


def _is_refusal(reply: Reply) -> bool:
    is_refused = meaning_of(reply) in (Meaning.INVALID, Meaning.REFUSED)
    return is_refused and not is_about_account(reply)
