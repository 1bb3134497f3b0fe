"""`contracts accept`: a rejection that a person has accepted alarms nobody."""

import re
from pathlib import Path

import pytest

from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox

REASON = "a test row of the ERP"


@pytest.fixture(params=["sqlite", "postgresql"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, sandbox: Sandbox) -> Bench:
    """Two of five contracts are rejected; the state is on either database."""
    state = {"url": request.getfixturevalue("postgresql_url")} if request.param != "sqlite" else {}
    bench = Bench.with_contracts(tmp_path, sandbox, state=state)
    bench.source(f"INSERT INTO contracts VALUES (5, 'ACME', 'soon', NULL, 'Gold', {NOW})")
    assert bench.run("once").code == 1
    return bench


def accept(bench: Bench, *ids: str) -> None:
    assert bench.run("contracts", "accept", *ids, "--reason", REASON).code == 0


def test_what_is_accepted_is_counted_and_no_trouble(bench: Bench) -> None:
    assert "2 contracts are rejected" in bench.run("status").out
    ran = bench.run("contracts", "accept", "4", "erp-5", "--reason", REASON)
    status, document = bench.run("status"), bench.run("status", "--json").document
    once = bench.run("once", "--json")

    assert ran.out.startswith("2 contracts are accepted by anna@")
    assert (status.code, status.out.split(";")[0]) == (0, "WELL")
    assert "5 rows = 3 synced + 0 pending + 0 rejected + 2 accepted + 0 waiting" in status.out
    assert (document["contracts"]["accepted"], document["contracts"]["rejected"]) == (2, 0)
    assert (once.code, once.document["rejected"], once.document["accepted"]) == (0, 0, 2)


def test_it_is_listed_with_who_and_why(bench: Bench) -> None:
    accept(bench, "4")
    listed = bench.run("contracts", "list", "--status", "accepted")
    (one,) = bench.run("contracts", "list", "--status", "accepted", "--json").document["contracts"]
    others = bench.run("contracts", "list", "--json").document["contracts"]

    assert "account: must not be empty; accepted by anna@" in listed.out
    assert REASON in listed.out
    assert (one["source_id"], one["accepted"]["reason"]) == ("4", REASON)
    assert [one["accepted"] for one in others if one["source_id"] != "4"] == [None] * 4


@pytest.mark.parametrize("command", ["once", "reconcile"])
def test_it_holds_for_what_was_accepted_and_ends_with_a_change(bench: Bench, command: str) -> None:
    accept(bench, "4", "5")
    bench.source(f"UPDATE contracts SET updated_at = {NOW}")
    assert bench.run(command).code == 0
    bench.source(f"UPDATE contracts SET start_date = 'later', updated_at = {NOW} WHERE id = 5")
    ran = bench.run(command)
    shown = bench.run("contracts", "show", "5").out

    assert ran.code == 1
    assert "1 rejected: cdc-sync contracts list --status rejected" in ran.out
    assert bench.statuses() == {"synced": 3, "rejected": 1, "accepted": 1}
    assert "start: 'later' is not a date" in shown
    assert re.search(rf"accepted +by anna@\S+: {REASON}", shown)


def test_its_story_says_who_accepted_it_who_ended_that_and_why(bench: Bench) -> None:
    accept(bench, "4")
    during = bench.run("contracts", "show", "4").out
    ran = bench.run("contracts", "accept", "4", "--undo", "--reason", "it was real")
    after = bench.run("contracts", "show", "4", "--json").document

    assert "accepted since" in during.splitlines()[0]
    assert f": {REASON} (until its payload or the rejection changes)" in during
    assert ran.out == "1 contract is rejected again.\n"
    assert (after["status"], after["accepted"]) == ("rejected", None)
    kinds = [(one["kind"], one["reason"]) for one in after["acceptances"]]
    assert kinds == [("accept", REASON), ("withdraw", "it was real")]
    assert bench.run("status").code == 1


def test_what_is_not_rejected_stays_as_it_is(bench: Bench) -> None:
    ran = bench.run("contracts", "accept", "1", "4", "--reason", REASON)

    assert ran.out.endswith("1 stays as it is: not rejected.\n")
    assert bench.contract("1")["status"] == "synced"


def test_without_a_reason_nothing_is_accepted(bench: Bench) -> None:
    ran = bench.run("contracts", "accept", "4")

    assert ran.code == 2
    assert "Add --reason TEXT." in ran.err
    assert bench.contract("4")["status"] == "rejected"


def test_an_unknown_id_changes_nothing(bench: Bench) -> None:
    ran = bench.run("contracts", "accept", "4", "nobody", "--reason", REASON)

    assert ran.code == 2
    assert "nobody" in ran.err
    assert bench.contract("4")["status"] == "rejected"
