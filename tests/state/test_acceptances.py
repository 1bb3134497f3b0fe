"""Accepted rejections in the state, on SQLite and PostgreSQL."""

from datetime import timedelta

import pytest

from cdc_sync.contract import Problem, SourceId
from cdc_sync.rules.verdict import Refused
from cdc_sync.state import acceptances, contracts, history, outbox
from tests.state.test_outbox import BAD, NOW, SECOND, A, B, answer, claim, one, see

IDS = [SourceId("1"), SourceId("2"), SourceId("3")]
WHY = {"who": "anna@ops1", "reason": "a test row"}


@pytest.fixture
def accepted(state):
    """Two rejected contracts are accepted, and a third is good."""
    see(state, A, "1", "2", problems=BAD)
    see(state, B, "3")
    with state.begin() as tx:
        assert acceptances.accept(tx, IDS, **WHY, now=NOW) == 2
    return state


def status(state, source_id="1"):
    return one(state, source_id)["status"]


def test_only_what_is_rejected_is_accepted_and_says_by_whom_and_why(accepted):
    with accepted.read() as tx:
        counts = contracts.count_by_status(tx)
        latest = acceptances.find_latest(tx, IDS)

    assert (counts["accepted"], counts["rejected"], counts["pending"]) == (2, 0, 1)
    assert latest == {key: {"at": NOW, **WHY} for key in IDS[:2]}


def test_it_holds_while_the_row_is_seen_as_it_was(accepted):
    see(accepted, A, "1", problems=BAD, now=NOW + SECOND)

    assert status(accepted) == "accepted"
    assert one(accepted)["changed_at"] == NOW


@pytest.mark.parametrize(
    ("payload", "problems", "becomes"),
    [(B, BAD, "rejected"), (A, (Problem("end", "is bad"),), "rejected"), (A, (), "pending")],
    ids=["another payload", "another reason", "corrected"],
)
def test_it_ends_with_the_payload_and_with_the_reason(accepted, payload, problems, becomes):
    see(accepted, payload, "1", problems=problems, now=NOW + SECOND)

    assert (status(accepted), status(accepted, "2")) == (becomes, "accepted")
    see(accepted, A, "1", problems=BAD, now=NOW + 2 * SECOND)
    assert status(accepted) == "rejected"


def test_it_ends_when_the_row_is_gone(accepted):
    see(accepted, A, "1", gone=True)

    assert status(accepted) == "gone"


def test_a_refusal_by_customergauge_is_accepted_until_its_payload_changes(state):
    see(state)
    answer(state, claim(state), Refused(BAD), 422)
    with state.begin() as tx:
        acceptances.accept(tx, IDS, **WHY, now=NOW)
    see(state, A, now=NOW + SECOND)

    assert status(state) == "accepted"
    assert claim(state, NOW + SECOND) == []
    see(state, B, now=NOW + SECOND)
    assert status(state) == "pending"


def test_retrying_all_leaves_it_and_retrying_it_by_name_does_not(state):
    see(state)
    answer(state, claim(state), Refused(BAD), 422)
    with state.begin() as tx:
        acceptances.accept(tx, IDS, **WHY, now=NOW)
        assert outbox.retry(tx, None, NOW) == 0
        assert outbox.retry(tx, IDS, NOW) == 1


def test_it_is_withdrawn(accepted):
    with accepted.begin() as tx:
        assert acceptances.withdraw(tx, IDS, who="ben", reason=None, now=NOW + SECOND) == 2
        decisions = acceptances.list_acceptances(tx, IDS[0])

    assert status(accepted) == "rejected"
    assert [(one["kind"], one["who"]) for one in decisions] == [
        ("accept", "anna@ops1"),
        ("withdraw", "ben"),
    ]


def test_the_history_keeps_who_accepted_what_is_accepted_still(accepted):
    see(accepted, B, "2", problems=BAD)
    later = NOW + timedelta(days=400)
    with accepted.begin() as tx:
        history.prune(tx, later, 1000)
        latest = acceptances.find_latest(tx, IDS)

    assert set(latest) == {"1"}
