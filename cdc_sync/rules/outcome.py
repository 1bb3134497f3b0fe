"""What a verdict does to the contract: the one place where a delivery changes a status."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, assert_never

from cdc_sync.contract import Payload, Problem, Reference, SourceId, Status
from cdc_sync.rules.verdict import (
    Accepted,
    AccountMissing,
    Halted,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Verdict,
    backoff,
)

CONFIRM_AFTER = timedelta(minutes=1)  # how long a request that we gave up may still be applied
ACCOUNT_SHORTEST = timedelta(minutes=1)
ACCOUNT_LONGEST = timedelta(hours=1)


class OutcomeKind(StrEnum):
    """What a delivery counts as in `totals`."""

    CREATED = "created"
    UPDATED = "updated"
    RECREATED = "recreated"  #: 201 for one acknowledged before: it was removed there
    ADOPTED = "adopted"  #: 200 for a first PUT: that reference was somebody's already
    REJECTED = "rejected"
    RETRIED = "retried"
    CONFIRMED = "confirmed"  #: the one PUT more after a lost answer


class Claimed(NamedTuple):
    """A contract taken for delivery; `in_doubt` is what it was before the claim.

    `owner` and `claimed_at` are the claim's own: who took it, and its instant of doubt.
    """

    source_id: SourceId
    reference: Reference
    payload: Payload
    acknowledged: Payload | None
    status: Status
    attempts: int
    next_attempt_at: datetime
    in_doubt: datetime | None
    changed_at: datetime | None = None
    owner: str = ""
    claimed_at: datetime | None = None


class Settlement(NamedTuple):
    """What is recorded for one attempt; `kind` is None where it counts as nothing."""

    claimed: Claimed
    status: Status
    attempts: int
    next_attempt_at: datetime | None
    in_doubt: datetime | None
    http_status: int | None
    problems: tuple[Problem, ...]
    kind: OutcomeKind | None
    at: datetime
    doubted_at: datetime  #: its end by the clock of doubts

    @property
    def acknowledged(self) -> bool:
        """Whether CustomerGauge now holds what was sent."""
        return self.status is Status.SYNCED

    @property
    def arrival(self) -> timedelta | None:
        """How long after a change was found it is acknowledged; None where nothing had changed."""
        claimed = self.claimed
        is_repeat = claimed.payload == claimed.acknowledged
        if not self.acknowledged or is_repeat or claimed.changed_at is None:
            return None
        return self.at - claimed.changed_at


class Attempt(NamedTuple):
    """One request that left: when it began and ended, and with which status, if any.

    `began` and `ended` are by the clock of doubts, which no step of the system's moves; `at` is
    its end by the system's.
    """

    began: datetime
    ended: datetime
    http_status: int | None
    at: datetime


def settle(claimed: Claimed, verdict: Verdict, attempt: Attempt, jitter: float) -> Settlement:
    """What the verdict on an attempt does to its contract."""
    now = attempt.at
    match verdict:
        case Accepted():
            return _accepted(claimed, verdict, attempt)
        case Refused(problems):
            return _kept(claimed, attempt, Status.REJECTED, None, problems, OutcomeKind.REJECTED)
        case AccountMissing(problems):
            due = now + _account_wait(claimed.attempts + 1)
            return _kept(claimed, attempt, Status.WAITING, due, problems, OutcomeKind.RETRIED)
        case TryLater(why, doubt) | Unavailable(why, doubt):
            due = now + backoff(claimed.attempts + 1, jitter)
            problems = (Problem("", why),)
            return _kept(
                claimed, attempt, Status.PENDING, due, problems, OutcomeKind.RETRIED, doubt=doubt
            )
        case Throttled():
            return _blameless(claimed, attempt, "CustomerGauge asks everybody to wait")
        case TokenRejected(why=why) | Halted(why=why):
            return _blameless(claimed, attempt, why)
        case _:
            assert_never(verdict)


def _accepted(claimed: Claimed, verdict: Accepted, attempt: Attempt) -> Settlement:
    # One in the future is a clock's that was wrong: it counts from now on.
    since = min(claimed.in_doubt, attempt.began) if claimed.in_doubt else None
    if since is not None and attempt.began - since >= CONFIRM_AFTER:
        since = None
    return Settlement(
        claimed,
        Status.SYNCED,
        attempts=0,
        next_attempt_at=_confirm_at(since, attempt) if since else None,
        in_doubt=since,
        http_status=attempt.http_status,
        problems=(),
        kind=_accepted_kind(claimed, verdict, attempt.http_status),
        at=attempt.at,
        doubted_at=attempt.ended,
    )


def _confirm_at(since: datetime, attempt: Attempt) -> datetime:
    left = since + CONFIRM_AFTER - attempt.ended
    return attempt.at + max(left, timedelta(0))


def _accepted_kind(claimed: Claimed, verdict: Accepted, http_status: int | None) -> OutcomeKind:
    if claimed.status is Status.SYNCED and not verdict.created:
        return OutcomeKind.CONFIRMED
    if claimed.acknowledged is not None:
        return OutcomeKind.RECREATED if verdict.created else OutcomeKind.UPDATED
    if http_status == 200 and claimed.in_doubt is None:
        return OutcomeKind.ADOPTED
    return OutcomeKind.CREATED


def _kept(  # noqa: PLR0913  # one argument a column that differs
    claimed: Claimed,
    attempt: Attempt,
    status: Status,
    due: datetime | None,
    problems: tuple[Problem, ...],
    kind: OutcomeKind,
    *,
    doubt: bool = False,
) -> Settlement:
    return Settlement(
        claimed,
        status,
        attempts=claimed.attempts + 1,
        next_attempt_at=due,
        in_doubt=attempt.ended if doubt else claimed.in_doubt,
        http_status=attempt.http_status,
        problems=problems,
        kind=kind,
        at=attempt.at,
        doubted_at=attempt.ended,
    )


def _blameless(claimed: Claimed, attempt: Attempt, why: str) -> Settlement:
    """The contract is not to blame: it goes again as soon as anything may go."""
    return Settlement(
        claimed,
        Status.PENDING,
        attempts=claimed.attempts,
        next_attempt_at=claimed.next_attempt_at,
        in_doubt=claimed.in_doubt,
        http_status=attempt.http_status,
        problems=(Problem("", why),),
        kind=None,
        at=attempt.at,
        doubted_at=attempt.ended,
    )


def _account_wait(tries: int) -> timedelta:
    return min(ACCOUNT_LONGEST, ACCOUNT_SHORTEST * (1 << min(tries - 1, 10)))
