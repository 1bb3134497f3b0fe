"""Several daemons on one state in PostgreSQL: lost claims, late answers, the lease's number."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

import psycopg
import pytest

from cdc_sync.capture.page import compare_page
from cdc_sync.contract import Mapped, Reference, SourceId, payload_of
from cdc_sync.errors import StateUnavailable
from cdc_sync.rules.outcome import Attempt, Claimed, settle
from cdc_sync.rules.verdict import Accepted, Refused, Throttled, Unavailable, Verdict
from cdc_sync.state import contracts, control, outbox
from cdc_sync.state.database import Database, open_state, state_now
from cdc_sync.state.lease import SILENT_SECONDS, Lease, instance_lock, owner_id, pid_place
from cdc_sync.state.schema import upgrade_tables
from cdc_sync.state.values import Paused
from tests.support.wait import wait_until

NOW = datetime.now(UTC)  # the state's server has it, too
SECOND = timedelta(seconds=1)
A, B = (payload_of({"account": name}) for name in "AB")
OK = Accepted(created=False)
LOST = Unavailable("no answer in time", doubt=True)


@pytest.fixture
def state(postgresql_url: str) -> Iterator[Database]:
    opened = open_state(postgresql_url)
    upgrade_tables(opened)
    yield opened
    opened.close()


@pytest.fixture
def other(postgresql_url: str, state: Database) -> Iterator[Database]:
    """The same state as another process has it open."""
    opened = open_state(postgresql_url)
    yield opened
    opened.close()


def see(state, payload, *, meanwhile=lambda: None, held_run=None):
    """Capture meets the row; something happens after it has looked at what is known."""
    row = Mapped(SourceId("1"), False, Reference("erp-1"), payload, ())
    with state.begin() as tx:
        changes = compare_page(tx, [row])
        meanwhile()
        changes = [replace(change, held_run=held_run) for change in changes]
        contracts.record_changes(tx, changes, NOW)


def claim(state, owner, now=NOW, exclude=()) -> list[Claimed]:
    with state.begin() as tx:
        until = state_now(tx, now) - SECOND  # nobody answers in time
        return outbox.claim(tx, now, 10, owner, until, claimed_at=now, exclude=exclude)


def answer(state, claimed, verdict: Verdict = OK, at=NOW):
    with state.begin() as tx:
        settled = [settle(one, verdict, Attempt(at, at, 200, at), 0.0) for one in claimed]
        outbox.settle(tx, settled)


def expire(state):
    with state.begin() as tx:
        return outbox.free_expired_claims(tx)


def facts(state, *names):
    with state.read() as tx:
        row = contracts.find(tx, "1")
    return tuple(row[name] for name in names)


def lost_claim(state, *, taken_by: str | None) -> tuple[list[Claimed], list[Claimed]]:
    """A claim of one that freezes, and the claim of who took it over."""
    see(state, A)
    frozen = claim(state, "frozen")
    assert expire(state) == 1
    return frozen, claim(state, taken_by, NOW + SECOND) if taken_by else []


@pytest.mark.parametrize("verdict", [OK, LOST])
def test_an_answer_that_comes_after_its_claim_was_lost_and_settled_is_a_doubt(state, verdict):
    frozen, taken = lost_claim(state, taken_by="other")
    see(state, B)
    answer(state, taken, at=NOW + SECOND)
    answer(state, claim(state, "other", NOW + 2 * SECOND), at=NOW + 2 * SECOND)
    assert facts(state, "status", "acknowledged") == ("synced", B)
    answer(state, frozen, verdict, NOW + 3 * SECOND)

    late = ("pending", B, NOW + 3 * SECOND)
    assert facts(state, "status", "acknowledged", "next_attempt_at") == late
    assert facts(state, "in_doubt") != (None,)
    assert [one.payload for one in claim(state, "other", NOW + 3 * SECOND)] == [B]


def test_an_answer_that_comes_while_another_has_the_claim_makes_it_go_once_more(state):
    frozen, taken = lost_claim(state, taken_by="other")
    answer(state, frozen, OK, NOW + 2 * SECOND)
    assert facts(state, "claimed_by", "acknowledged") == ("other", None), "the claim is the other's"
    answer(state, taken, OK, NOW + 3 * SECOND)

    assert facts(state, "status", "acknowledged", "claimed_by") == ("pending", A, None)
    assert len(claim(state, "other", NOW + 3 * SECOND)) == 1


def test_a_claim_given_back_late_takes_nothing_from_who_has_it_now(state):
    frozen, _ = lost_claim(state, taken_by="other")
    with state.begin() as tx:
        outbox.release(tx, frozen)

    assert facts(state, "claimed_by", "in_doubt") == ("other", NOW + SECOND)


def test_a_late_answer_that_proves_that_nothing_was_applied_is_no_doubt(state):
    frozen, taken = lost_claim(state, taken_by="other")
    later = datetime.now(UTC) + 120 * SECOND  # by the state's clock, which has given the doubt
    answer(state, taken, OK, later)
    answer(state, frozen, Throttled(None), later + SECOND)

    assert facts(state, "status", "in_doubt") == ("synced", None)


def test_a_late_answer_does_not_send_what_was_refused_meanwhile(state):
    frozen, taken = lost_claim(state, taken_by="other")
    answer(state, taken, Refused(()), NOW + SECOND)
    answer(state, frozen, OK, NOW + 2 * SECOND)

    assert facts(state, "status", "in_doubt") == ("rejected", NOW + 2 * SECOND)


@pytest.mark.parametrize("verdict", [OK, LOST])
def test_a_late_answer_does_not_send_what_the_guard_has_not_judged(state, verdict):
    frozen, taken = lost_claim(state, taken_by="other")
    answer(state, taken, OK, NOW + SECOND)
    see(state, B, held_run=1)
    answer(state, frozen, verdict, NOW + 2 * SECOND)

    assert facts(state, "status", "held_run", "next_attempt_at") == ("pending", 1, None)
    assert facts(state, "in_doubt") == (NOW + 2 * SECOND,)
    assert claim(state, "other", NOW + 3 * SECOND) == []


def test_one_that_lost_a_claim_does_not_take_it_anew_while_its_put_is_on_its_way(state):
    frozen, _ = lost_claim(state, taken_by=None)

    assert claim(state, "frozen", exclude=[one.source_id for one in frozen]) == []
    assert len(claim(state, "other")) == 1


def test_what_another_is_about_to_claim_or_settle_is_waited_for_by_nobody(state, other):
    see(state, A)
    claim(state, "frozen")
    with other.begin() as tx:
        outbox.settle(tx, [])
        tx.execute(contracts.contract.select().with_for_update())
        assert claim(state, "other") == []
        assert expire(state) == 0

    assert expire(state) == 1


def test_what_another_claims_while_capture_looks_is_judged_as_a_doubt(state, other):
    """A is acknowledged, B about to be sent, the source back to A: were it synced, B would stay."""
    see(state, A)
    answer(state, claim(state, "other"))
    see(state, B)
    claimed: list[Claimed] = []
    thread = threading.Thread(target=lambda: claimed.extend(claim(other, "other", NOW + SECOND)))
    see(state, A, meanwhile=lambda: (thread.start(), thread.join(0.5)))
    thread.join()
    answer(other, claimed)

    payload, acknowledged, status = facts(state, "payload", "acknowledged", "status")
    assert payload == acknowledged or status == "pending"


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("owner", "is_freed"),
    [
        (lambda: f"{socket.gethostname()}:{ended_process()}:{pid_place()}:1f", True),
        (lambda: f"{socket.gethostname()}:{os.getpid()}:{pid_place()}:1f", True),
        (lambda: f"{socket.gethostname()}:{os.getppid()}:{pid_place()}:1f", False),
        (lambda: f"{socket.gethostname()}:{ended_process()}:another/1:1f", False),
        (lambda: f"{socket.gethostname()}:{os.getpid()}:another/1:1f", False),
        (lambda: f"{socket.gethostname()}:{ended_process()}", False),  # of an older version
        (owner_id, False),
    ],
    ids=["ended", "had our number", "lives", "of a container", "of one like us", "older", "ours"],
)
def test_only_a_process_of_our_own_boot_and_pid_namespace_is_taken_for_dead(state, owner, is_freed):
    """Two containers may have one host name and the same numbers: else the lease decides."""
    see(state, A)
    claim(state, owner())
    outbox.free_claims_at_start(state, NOW)

    assert (facts(state, "claimed_by") == (None,)) is is_freed


def test_a_process_that_is_forked_is_another_owner():
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        forked = pool.submit(owner_id).result(20)

    assert forked != owner_id() == owner_id()


@pytest.fixture
def leases(state, other) -> Iterator[tuple[Lease, Lease]]:
    """Those of two daemons; nobody has proved his yet."""
    with instance_lock(state, standby=True) as one, instance_lock(other, standby=True) as two:
        yield one, two


def cut(state, postgresql_url):
    """Ends the session that has the lock, as a network does it: nobody is told."""
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as connection:
        holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        for (pid,) in connection.execute(holders).fetchall():
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def writes(state, lease: Lease) -> bool:
    try:
        with state.fenced(lease.fence).begin() as tx:
            control.save(tx, Paused(is_paused=True))
    except StateUnavailable:
        return False
    return True


@pytest.mark.parametrize("has_written", [True, False])
def test_who_lost_the_lock_without_a_word_writes_no_more(state, other, leases, postgresql_url, has_written):  # fmt: skip
    one, two = leases
    assert (one.keep(), two.keep()) == (True, False)
    if has_written:
        assert writes(state, one)
    cut(state, postgresql_url)
    assert two.keep()

    assert (writes(other, two), writes(state, one)) == (True, False)
    assert not one.keep()
    assert writes(other, two), "nor does it hinder who has it now"


def test_a_lost_lock_is_taken_again_by_a_later_call(state, other, leases, postgresql_url):
    one, _ = leases
    assert one.keep()
    cut(state, postgresql_url)

    assert [one.keep(), one.keep()] == [False, True]
    assert writes(state, one)


def test_a_daemon_without_a_sign_of_life_loses_the_lock(leases):
    one, two = leases
    told = one._connection.exec_driver_sql("SHOW idle_session_timeout").scalar()
    assert told == f"{SILENT_SECONDS}s"
    one._connection.exec_driver_sql("SET idle_session_timeout = '1s'")

    wait_until(two.keep, "another takes it", 5)
