"""The contract table under capture and delivery: one suite, SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.contract import Mapped, Problem, Reference, SourceId, Status, payload_of
from cdc_sync.rules.compare import compare
from cdc_sync.rules.outcome import Attempt, settle
from cdc_sync.rules.verdict import Accepted, AccountMissing, Refused, TryLater, Unavailable
from cdc_sync.state import contracts, history, outbox
from cdc_sync.state.contracts import open_seen_ids

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
A, B, C = (payload_of({"account": name, "end": None}) for name in "ABC")
OK = Accepted(created=False)
BAD = (Problem("start", "is bad"),)


def see(state, payload=A, *ids, problems=(), gone=False, now=NOW):
    """Capture meets rows with these ids."""
    with state.begin() as tx:
        ids = ids or ("1",)
        known = contracts.find_rows(tx, ids)
        seen = [Mapped(SourceId(i), gone, Reference(f"erp-{i}"), payload, problems) for i in ids]
        earlier = [contracts.to_known(known[i]) if i in known else None for i in ids]
        changes = [compare(row, before) for row, before in zip(seen, earlier, strict=True)]
        contracts.record_changes(tx, [change for change in changes if change is not None], now)


def claim(state, now=NOW, limit=100):
    with state.begin() as tx:
        return outbox.claim(tx, now, limit, "me", now + 90 * SECOND, claimed_at=now)


def answer(state, claimed, verdict=OK, status=200, now=NOW):
    with state.begin() as tx:
        settled = [settle(one, verdict, Attempt(now, now, status, now), 0.0) for one in claimed]
        outbox.settle(tx, settled)
        history.log_deliveries(tx, settled)


def one(state, source_id="1"):
    with state.read() as tx:
        return contracts.find(tx, source_id)


def facts(state, *names):
    row = one(state)
    return tuple(row[name] for name in names)


def test_what_is_seen_is_due_claimed_and_acknowledged(state):
    see(state)
    assert facts(state, "status", "next_attempt_at", "in_doubt") == ("pending", NOW, None)
    (claimed,) = claim(state)
    assert facts(state, "in_doubt", "claimed_by") == (NOW, "me")
    answer(state, [claimed])

    assert facts(state, "status", "acknowledged", "acknowledged_at", "in_doubt", "claimed_by", "next_attempt_at") == ("synced", A, NOW, None, None, None)  # fmt: skip
    with state.read() as tx:
        assert history.list_deliveries(tx, "1", 10) == [
            {"at": NOW, "http_status": 200, "changed": {"account": [None, "A"], "end": [None, None]}, "error": None}
        ]  # fmt: skip


def test_what_is_claimed_is_not_claimed_again(state):
    see(state, A, "1", "2")

    assert len(claim(state, limit=1)) == 1
    assert len(claim(state)) == 1
    assert claim(state) == []


def test_the_latest_payload_wins_while_an_older_one_is_on_its_way(state):
    see(state, A)
    in_flight = claim(state)
    see(state, B)
    see(state, C)
    assert claim(state) == []
    answer(state, in_flight)

    assert facts(state, "status", "payload", "acknowledged") == ("pending", C, A)
    assert [one.payload for one in claim(state)] == [C]


@pytest.mark.parametrize("verdict", [Refused(BAD), AccountMissing(BAD), Unavailable("503", doubt=True)])  # fmt: skip
def test_what_befell_an_older_payload_does_not_hold_a_newer_one(state, verdict):
    see(state, A)
    in_flight = claim(state)
    see(state, B)
    answer(state, in_flight, verdict, 422)

    assert facts(state, "status", "attempts") == ("pending", 0)
    assert [one.payload for one in claim(state)] == [B]


def test_a_row_that_goes_back_while_its_change_is_on_its_way_is_sent_again(state):
    see(state, A)
    answer(state, claim(state))
    see(state, B)
    in_flight = claim(state)
    see(state, A)
    answer(state, in_flight)

    assert facts(state, "payload", "acknowledged", "status") == (A, B, "pending")


def test_a_claim_given_back_stands_as_before_it(state):
    see(state)
    claimed = claim(state)
    with state.begin() as tx:
        outbox.release(tx, claimed)

    assert facts(state, "in_doubt", "claimed_by", "status", "next_attempt_at") == (None, None, "pending", NOW)  # fmt: skip


def test_the_claims_of_a_dead_process_are_due_and_in_doubt(state):
    see(state)
    claim(state)
    with state.begin() as tx:
        assert outbox.free_all_claims(tx, NOW) == 1

    assert facts(state, "claimed_by") == (None,)
    assert facts(state, "in_doubt") >= (NOW,)
    assert len(claim(state)) == 1


@pytest.mark.parametrize("meanwhile", [{"problems": BAD}, {"gone": True}])
def test_what_was_refused_or_went_while_a_process_died_is_not_sent(state, meanwhile):
    see(state)
    claim(state)
    see(state, B, **meanwhile)
    with state.begin() as tx:
        outbox.free_all_claims(tx, NOW)

    assert claim(state) == []
    assert facts(state, "in_doubt") >= (NOW,)


def test_a_revert_after_a_crash_is_sent_because_of_the_doubt(state):
    see(state, A)
    answer(state, claim(state))
    see(state, B)
    claim(state)
    with state.begin() as tx:
        outbox.free_all_claims(tx, NOW)
    see(state, A)

    assert facts(state, "status") == ("pending",)
    assert [one.payload for one in claim(state)] == [A]


def test_a_wait_longer_than_any_counts_as_due(state):
    see(state, now=NOW + timedelta(days=400))

    assert len(claim(state)) == 1


def test_a_contract_waits_until_it_is_due(state):
    see(state)
    answer(state, claim(state), Unavailable("503", doubt=True), 503)

    assert claim(state) == []
    with state.read() as tx:
        due = outbox.next_due_at(tx)
        assert outbox.count_due(tx, NOW) == 0
    assert len(claim(state, due)) == 1


def test_the_longest_waiting_goes_first(state):
    see(state, A, "2", now=NOW - SECOND)
    see(state, A, "3", "1", now=NOW)

    assert [one.source_id for one in claim(state)] == ["2", "1", "3"]


@pytest.mark.parametrize("verdict", [Refused(BAD), AccountMissing(BAD), Unavailable("503", doubt=True)])  # fmt: skip
@pytest.mark.parametrize("ids", [None, ["1"]])
def test_a_person_makes_what_is_stuck_due(state, verdict, ids):
    see(state, A, "1")
    answer(state, claim(state), verdict, 422)
    with state.begin() as tx:
        assert outbox.retry(tx, ids, NOW) == 1

    assert len(claim(state)) == 1


def test_a_person_cannot_make_a_bad_row_or_a_synced_one_due(state):
    see(state, A, "1", problems=BAD)
    see(state, A, "2")
    answer(state, claim(state))
    with state.begin() as tx:
        assert outbox.retry(tx, None, NOW) == 0

    assert claim(state) == []


def test_a_synced_contract_can_be_sent_once_more(state):
    see(state)
    answer(state, claim(state))
    with state.begin() as tx:
        assert outbox.resend(tx, None, NOW) == 1

    answer(state, claim(state))
    assert facts(state, "status", "next_attempt_at") == ("synced", None)


def test_contracts_are_counted_listed_and_found_by_id_or_reference(state):
    see(state, A, *(str(n) for n in range(5)))
    see(state, B, "bad", problems=BAD)
    answer(state, claim(state, limit=2))
    with state.read() as tx:
        counts = contracts.count_by_status(tx)
        page = contracts.list_page(tx, Status.PENDING, "2", 10)
        found, unknown = contracts.resolve_names(tx, ["1", "erp-3", "nobody"])

    assert {s: n for s, n in counts.items() if n} == {Status.PENDING: 3, Status.REJECTED: 1, Status.SYNCED: 2}  # fmt: skip
    assert [row["source_id"] for row in page] == ["3", "4"]
    assert (found, unknown) == (["1", "3"], ["nobody"])


def test_old_runs_and_deliveries_are_forgotten_in_small_bites(state):
    see(state, A, "1", "2", "3")
    answer(state, claim(state))
    with state.begin() as tx:
        history.log_run(tx, history.Run("poll", NOW - SECOND).ended(NOW))
        assert history.prune(tx, NOW, 2) == 1
        assert history.prune(tx, NOW + SECOND, 2) == 2
        assert history.prune(tx, NOW + SECOND, 2) == 1
        assert history.list_latest_deliveries(tx, 5) == []


def test_a_sweep_gives_what_it_did_not_meet_in_pages_and_leaves_nothing_behind(state):
    see(state, A, *(str(n) for n in range(10)))
    see(state, A, "0", gone=True)
    for _ in range(2):
        with open_seen_ids(state) as seen_ids:
            seen_ids.add([SourceId("3"), SourceId("new"), SourceId("3")])
            seen_ids.add([SourceId("3"), SourceId("4")])
            contracts = [[row.source_id for row in page] for page in seen_ids.missing(3)]
            assert seen_ids.count == 3

        assert contracts == [["1", "2", "5"], ["6", "7", "8"], ["9"]]


@pytest.mark.parametrize("unsent", [True, False], ids=["unsent", "409"])
def test_what_went_back_while_nothing_was_applied_is_not_sent(state, unsent):
    """A is acknowledged, B on its way and not applied, the source at A: they agreed all the time."""
    see(state, A)
    answer(state, claim(state))
    see(state, B)
    claimed = claim(state)
    see(state, A)
    assert facts(state, "status") == ("pending",), "the claim is a doubt"
    if unsent:
        with state.begin() as tx:
            outbox.release(tx, claimed)
    else:
        answer(state, claimed, TryLater("409", doubt=False), 409)

    assert facts(state, "status", "next_attempt_at", "in_doubt") == ("synced", None, None)
