"""What the guard holds, as a person meets it: status, approve, discard, plan."""

from pathlib import Path

import pytest

from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox

SILVER = f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1"


@pytest.fixture
def held(tmp_path: Path, sandbox: Sandbox) -> Bench:
    """Three contracts are known, and one of them, which is more than 20 %, is held."""
    bench = Bench.with_contracts(tmp_path, sandbox, guard={"min_contracts": 3})
    bench.source("DELETE FROM contracts WHERE id = 4")
    assert bench.run("once").code == 0
    bench.source(SILVER)
    return bench


def test_the_run_that_holds_says_so(held: Bench) -> None:
    assert "The guard would hold 1 of them" in held.run("plan").out
    assert held.run("plan", "--exit-code").code == 0, "nothing would be sent"
    ran = held.run("once")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "Nothing to send.",
        "1 held by the guard: cdc-sync approve, or cdc-sync discard",
    ]


def test_status_shows_numbers_and_examples(held: Bench) -> None:
    held.run("once")
    ran = held.run("status")
    assert ran.code == 1
    assert "1 contract is held by the guard: cdc-sync approve, or cdc-sync discard" in ran.out
    assert "would have changed 1 at once (1 updated), of 3 known." in ran.out
    assert ran.out.splitlines()[-1] == "  erp-1  description Gold → Silver"
    assert held.run("status", "--json").document["contracts"]["held"] == 1


def test_approve_asks_first_and_then_it_goes(held: Bench, sandbox: Sandbox) -> None:
    held.run("once")
    no = held.run("approve", answer="n\n")
    assert (no.code, no.out.endswith("Nothing was changed.\n")) == (1, True)
    assert held.run("approve", answer="y\n").code == 0
    assert held.run("once").code == 0
    assert sandbox.contracts()["erp-1"]["description"] == "Silver"
    assert held.run("approve", "--yes", "--json").document == {"released": 0, "held": 0}


@pytest.mark.parametrize("command", ["approve", "discard"])
def test_without_a_terminal_nothing_is_released_unasked(
    held: Bench, sandbox: Sandbox, command: str
) -> None:
    held.run("once")
    ran = held.run(command)  # as in: ssh host sudo cdc-sync approve

    assert (ran.code, "Add --yes." in ran.err) == (2, True)
    assert held.statuses()["held"] == 1
    assert "1 contract held by the guard" in ran.out


def test_discard_drops_what_the_source_has_corrected(held: Bench, sandbox: Sandbox) -> None:
    held.run("once")
    held.source("UPDATE contracts SET plan = 'Gold' WHERE id = 1")
    report = held.run("discard", "--yes", "--json")
    assert report.code == 0, report.err
    assert (report.document["unchanged"], report.document["held"]) == (1, 0)
    assert sandbox.contracts()["erp-1"]["description"] == "Gold"
    assert held.run("status").out.startswith("WELL")
    assert held.run("discard", "--yes").out == "Nothing is held.\n"


def test_a_reconcile_says_how_every_row_is_accounted_for(held: Bench) -> None:
    held.source(
        "UPDATE contracts SET plan = 'Gold' WHERE id = 1", "DELETE FROM contracts WHERE id = 3"
    )
    ran = held.run("reconcile")

    assert "1 held by the guard" in ran.out, "its row is gone, so it is in no line of the sum"
    assert (
        "2 rows = 0 pending + 2 synced + 0 rejected + 0 waiting + 0 held; unexplained 0" in ran.out
    )


def test_a_full_plan_says_what_is_gone(held: Bench) -> None:
    held.source("DELETE FROM contracts WHERE id = 2")
    plan = held.run("plan", "--full", "--json").document
    assert (plan["update"], plan["gone"], plan["held"]) == (1, 1, 2)
    assert "gone    erp-2  gone from the source: nothing is sent" in held.run("plan", "--full").out
    assert "The guard would hold 2 of them" in held.run("plan", "--full").out
    assert held.run("plan", "--json").document["gone"] == 0, "a poll does not see it"


def test_a_plan_counts_no_row_twice(held: Bench) -> None:
    """What is pending already is one of the rows that a poll reads again, or is one more."""
    held.sync_once(deliver=False)
    assert held.run("plan", "--full", "--json").document["rows"] == 3


def test_a_source_that_is_empty_is_held_although_few_contracts_are_known(
    synced: Bench, sandbox: Sandbox
) -> None:
    before = len(sandbox.puts())
    synced.source("DELETE FROM contracts")
    report = synced.run("reconcile", "--json")
    again = synced.run("discard", "--yes", "--json").document
    released = synced.run("approve", "--yes", "--json").document

    assert (report.code, report.document["held"], report.document["gone"]) == (1, 4, 4)
    assert again["held"] == 4
    assert released == {"released": 4, "held": 0}
    assert len(sandbox.puts()) == before


def test_a_full_plan_of_an_empty_source_says_that_it_would_be_held(synced: Bench) -> None:
    synced.source("DELETE FROM contracts")
    planned = synced.run("plan", "--full", "--json").document

    assert (planned["gone"], planned["held"]) == (4, 3)  # one was never acknowledged
