"""The diff that decides whether anything is sent."""

from datetime import date

import pytest

from cdc_sync.contract import (
    Known,
    Mapped,
    Payload,
    Problem,
    Reference,
    SourceId,
    Status,
    payload_of,
)
from cdc_sync.rules.compare import Action, compare, compare_gone

pytestmark = pytest.mark.quick
A, B = (payload_of({"account": name, "end": None}) for name in "AB")
BAD = (Problem("start", "must not be empty"),)
TODAY = date(2026, 11, 24)


def seen(payload: Payload = A, *, gone: bool = False, problems: tuple[Problem, ...] = ()) -> Mapped:
    return Mapped(SourceId("1"), gone, Reference("erp-1"), payload, problems)


def known(**facts: object) -> Known:
    return Known(
        **{
            "source_id": "1",
            "reference": "erp-1",
            "payload": A,
            "acknowledged": A,
            "status": Status.SYNCED,
            "problems": (),
            "refused_by_us": False,
            "in_doubt": False,
            "ends_gone": False,
            **facts,
        }
    )


def outcome(change):
    return change and (change.action, change.status, change.payload)


def test_a_new_row_is_created():
    assert outcome(compare(seen(), None)) == (Action.CREATE, Status.PENDING, A)


def test_a_touch_without_a_change_is_nothing():
    assert compare(seen(A), known()) is None


def test_a_change_is_an_update():
    assert outcome(compare(seen(B), known())) == (Action.UPDATE, Status.PENDING, B)


def test_a_change_of_what_was_never_acknowledged_is_still_a_creation():
    change = compare(seen(B), known(acknowledged=None, status=Status.PENDING))

    assert outcome(change) == (Action.CREATE, Status.PENDING, B)


def test_a_revert_before_delivery_sends_nothing():
    pending = known(payload=B, status=Status.PENDING)

    assert outcome(compare(seen(A), pending)) == (Action.UNCHANGED, Status.SYNCED, A)


def test_a_revert_in_doubt_is_sent():
    doubtful = known(payload=B, status=Status.PENDING, in_doubt=True)

    assert outcome(compare(seen(A), doubtful)) == (Action.UPDATE, Status.PENDING, A)


@pytest.mark.parametrize("status", [Status.PENDING, Status.REJECTED, Status.WAITING, Status.HELD])
def test_a_row_as_we_know_it_leaves_a_delivery_alone(status):
    assert compare(seen(B), known(payload=B, status=status)) is None


@pytest.mark.parametrize("status", [Status.REJECTED, Status.WAITING])
def test_a_change_of_a_refused_contract_is_sent(status):
    change = compare(seen(B), known(status=status, acknowledged=None))

    assert outcome(change) == (Action.CREATE, Status.PENDING, B)


def test_a_held_contract_keeps_its_newest_payload_and_stays_held():
    change = compare(seen(B), known(status=Status.HELD))

    assert outcome(change) == (Action.UPDATE, Status.HELD, B)


def test_a_held_contract_that_went_back_needs_no_person():
    change = compare(seen(A), known(payload=B, status=Status.HELD))

    assert outcome(change) == (Action.UNCHANGED, Status.SYNCED, A)


def test_a_reference_never_changes():
    change = compare(seen(B)._replace(reference=Reference("new")), known())

    assert change is not None
    assert change.reference == "erp-1"


@pytest.mark.parametrize("before", [None, known(), known(status=Status.HELD), known(status=Status.GONE)])  # fmt: skip
def test_a_bad_row_is_rejected_with_its_reason(before):
    change = compare(seen(B, problems=BAD), before)

    assert outcome(change) == (Action.INVALID, Status.REJECTED, B)
    assert change is not None
    assert change.problems == BAD


def test_a_bad_row_is_told_once():
    rejected = known(payload=B, status=Status.REJECTED, problems=BAD, refused_by_us=True)

    assert compare(seen(B, problems=BAD), rejected) is None
    assert compare(seen(B, problems=(Problem("end", "other"),)), rejected) is not None


@pytest.mark.parametrize(("payload", "status"), [(A, Status.SYNCED), (B, Status.PENDING)])
def test_a_row_that_is_good_again_goes_on(payload, status):
    rejected = known(payload=payload, status=Status.REJECTED, problems=BAD, refused_by_us=True)
    change = compare(seen(payload), rejected)

    assert change is not None
    assert change.status is status


def test_a_deleted_row_that_was_never_known_is_nothing():
    assert compare(seen(gone=True), None, ends_on=TODAY) is None


def test_policy_keep_sends_nothing_for_what_is_gone():
    change = compare(seen(gone=True), known(payload=B, status=Status.PENDING))

    assert outcome(change) == (Action.GONE, Status.GONE, B)


def test_policy_end_sends_the_day():
    change = compare(seen(gone=True), known(), ends_on=TODAY)

    ended = payload_of({"account": "A", "end": "2026-11-24"})
    assert outcome(change) == (Action.GONE, Status.PENDING, ended)


def test_policy_end_ends_what_was_acknowledged_not_what_was_pending():
    change = compare(seen(gone=True), known(payload=B, status=Status.PENDING), ends_on=TODAY)

    assert change is not None
    assert change.payload == payload_of({"account": "A", "end": "2026-11-24"})


@pytest.mark.parametrize(
    "facts",
    [
        {"acknowledged": None, "status": Status.PENDING},
        {"acknowledged": payload_of({"account": "A", "end": "2026-11-24"})},
        {"acknowledged": payload_of({"account": "A", "end": "2020-01-01"})},
    ],
)
def test_policy_end_sends_nothing_for_what_was_never_there_or_has_ended(facts):
    change = compare_gone(known(**facts), ends_on=TODAY)

    assert change is not None
    assert change.status is Status.GONE


def test_policy_end_sends_an_earlier_end_again_when_in_doubt():
    ended = payload_of({"account": "A", "end": "2020-01-01"})
    change = compare_gone(known(acknowledged=ended, in_doubt=True), ends_on=TODAY)

    assert outcome(change) == (Action.GONE, Status.PENDING, ended)


@pytest.mark.parametrize("facts", [{"status": Status.GONE}, {"ends_gone": True}])
def test_what_is_gone_already_stays_gone(facts):
    assert compare_gone(known(**facts), ends_on=TODAY) is None


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"status": Status.GONE}, Status.SYNCED),
        ({"status": Status.GONE, "in_doubt": True}, Status.PENDING),
        ({"status": Status.GONE, "acknowledged": B}, Status.PENDING),
        ({"status": Status.PENDING, "ends_gone": True, "payload": B}, Status.SYNCED),
        ({"status": Status.PENDING, "ends_gone": True, "in_doubt": True}, Status.PENDING),
    ],
)
def test_a_row_that_comes_back_is_followed_again(facts, status):
    change = compare(seen(A), known(**facts))

    assert change is not None
    assert (change.status, change.gone) == (status, False)
