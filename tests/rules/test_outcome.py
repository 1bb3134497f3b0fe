"""What a verdict does to its contract."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.contract import Problem, Reference, SourceId, Status, payload_of
from cdc_sync.rules.outcome import CONFIRM_AFTER, Attempt, Claimed, OutcomeKind, settle
from cdc_sync.rules.verdict import (
    Accepted,
    AccountMissing,
    ApiState,
    Halted,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
)

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
A, B = (payload_of({"account": name}) for name in "AB")
CLAIMED = Claimed(SourceId("1"), Reference("erp-1"), B, A, Status.PENDING, 3, NOW, None)
PROBLEMS = (Problem("start", "bad"),)


def settled(verdict, claimed: Claimed = CLAIMED, status: int | None = 200):
    return settle(claimed, verdict, Attempt(NOW, NOW + SECOND, status, NOW + SECOND), jitter=0.0)


def test_an_acknowledgement_ends_everything():
    done = settled(Accepted(created=False))

    assert (done.status, done.attempts, done.next_attempt_at, done.in_doubt) == (Status.SYNCED, 0, None, None)  # fmt: skip
    assert done.acknowledged


@pytest.mark.parametrize(("ago", "doubt"), [(59 * SECOND, True), (CONFIRM_AFTER, False)])
def test_an_acknowledgement_soon_after_a_lost_answer_is_confirmed_once_more(ago, doubt):
    lost = NOW - ago
    done = settled(Accepted(created=False), CLAIMED._replace(in_doubt=lost))

    assert done.in_doubt == (lost if doubt else None)
    assert done.next_attempt_at == (lost + CONFIRM_AFTER if doubt else None)
    assert done.status is Status.SYNCED


def test_a_doubt_in_the_future_counts_from_now_on():
    done = settled(Accepted(created=False), CLAIMED._replace(in_doubt=NOW + 180 * CONFIRM_AFTER))

    assert (done.in_doubt, done.next_attempt_at) == (NOW, NOW + CONFIRM_AFTER)


@pytest.mark.parametrize(
    ("acknowledged", "created", "status", "in_doubt", "kind"),
    [
        (None, True, Status.PENDING, None, OutcomeKind.CREATED),
        (None, False, Status.PENDING, None, OutcomeKind.ADOPTED),
        (None, False, Status.PENDING, NOW, OutcomeKind.CREATED),
        (A, False, Status.PENDING, None, OutcomeKind.UPDATED),
        (A, True, Status.PENDING, None, OutcomeKind.RECREATED),
        (A, False, Status.SYNCED, NOW, OutcomeKind.CONFIRMED),
        (A, True, Status.SYNCED, NOW, OutcomeKind.RECREATED),
    ],
)
def test_an_acknowledgement_is_counted_as_what_it_was(
    acknowledged, created, status, in_doubt, kind
):
    claimed = CLAIMED._replace(acknowledged=acknowledged, status=status, in_doubt=in_doubt)

    assert settled(Accepted(created), claimed, 201 if created else 200).kind is kind


def test_a_refusal_waits_for_a_change_or_a_person():
    done = settled(Refused(PROBLEMS), status=422)

    assert (done.status, done.next_attempt_at, done.problems) == (Status.REJECTED, None, PROBLEMS)


def test_a_missing_account_is_looked_for_on_a_slow_schedule():
    waits = [
        settled(AccountMissing(PROBLEMS), CLAIMED._replace(attempts=n), 422).next_attempt_at - NOW
        for n in range(12)
    ]

    assert waits == sorted(waits)
    assert timedelta(minutes=1) <= waits[0] < waits[-1] <= timedelta(hours=1) + SECOND


@pytest.mark.parametrize(
    ("verdict", "before", "doubt"),
    [
        (TryLater("408", doubt=True), None, NOW + SECOND),
        (Unavailable("503", doubt=True), NOW - SECOND, NOW + SECOND),
        (TryLater("409", doubt=False), None, None),
        (Unavailable("refused", doubt=False), NOW - SECOND, NOW - SECOND),
        (Refused(PROBLEMS), NOW - SECOND, NOW - SECOND),
        (AccountMissing(PROBLEMS), NOW - SECOND, NOW - SECOND),
        (Throttled(None), NOW - SECOND, NOW - SECOND),
        (Throttled(None), None, None),
        (Halted(ApiState.MISCONFIGURED, "404"), None, None),
    ],
)
def test_only_what_may_have_been_applied_adds_a_doubt_and_only_an_acknowledgement_ends_it(verdict, before, doubt):  # fmt: skip
    assert settled(verdict, CLAIMED._replace(in_doubt=before), None).in_doubt == doubt


@pytest.mark.parametrize("verdict", [TryLater("409", False), Unavailable("503", True)])
def test_a_failure_is_tried_again_later(verdict):
    done = settled(verdict, status=503)

    assert (done.status, done.attempts) == (Status.PENDING, 4)
    assert done.next_attempt_at > NOW + SECOND


@pytest.mark.parametrize("verdict", [Throttled(None), TokenRejected(ApiState.FORBIDDEN, "403"), Halted(ApiState.MISCONFIGURED, "404")])  # fmt: skip
def test_what_concerns_everybody_burns_no_attempt(verdict):
    done = settled(verdict)

    assert (done.status, done.attempts, done.next_attempt_at) == (Status.PENDING, 3, NOW)
    assert done.kind is None
