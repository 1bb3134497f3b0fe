"""`contracts show`: one contract's timeline."""

import re
from collections.abc import Iterator

from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox

TIME = re.compile(r"  (\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d)  (\S.*)")


def lines(bench: Bench, name: str) -> Iterator[str]:
    """The lines that begin with a time, without it and with single spaces."""
    shown = bench.run("contracts", "show", name).out.splitlines()
    found = [match for line in shown if (match := TIME.fullmatch(line))]
    assert [match[1] for match in found] == sorted(match[1] for match in found)
    return (re.sub(r"\s+", " ", match[2]) for match in found)


def change(bench: Bench, row_id: int, **values: str) -> None:
    assignments = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    bench.source(f"UPDATE contracts SET {assignments}, updated_at = {NOW} WHERE id = {row_id}")


def due_now(bench: Bench) -> None:
    bench.run("retry", "--all")


def test_the_timeline_of_a_contract_is_in_order(synced: Bench, sandbox: Sandbox) -> None:
    change(synced, 1, end_date="2027-12-31")
    sandbox.strike("status=503 times=2", "lost times=1")
    synced.sync_once()
    due_now(synced)
    synced.sync_once()
    waiting = list(lines(synced, "erp-1"))
    due_now(synced)
    synced.sync_once()
    due_now(synced)
    synced.sync_once()
    told = list(lines(synced, "erp-1"))

    end = "end 2026-12-31 → 2027-12-31"
    assert waiting[:4] == [
        "seen in the source, for the first time",
        "PUT 201 acknowledged: the whole contract",
        f"changed {end}",
        f"PUT 503 503 Server Error ({end})",
    ]
    assert waiting[-1].startswith("next attempt ")
    assert told[:5] == [*waiting[:4], "PUT 503 503 Server Error"]
    assert told[5].startswith("PUT — ")
    assert told[6] == f"PUT 200 acknowledged: {end}"
    assert told[7] == "next once more, for an answer was lost before"
    assert len(told) == 8


def test_the_timeline_shows_what_our_own_rules_refuse_and_what_is_gone(synced: Bench) -> None:
    assert list(lines(synced, "4")) == [
        "seen in the source, for the first time",
        "rejected account: must not be empty",
    ]

    synced.source("DELETE FROM contracts WHERE id = 3")
    synced.run("reconcile")
    assert list(lines(synced, "3")) == [
        "seen in the source, for the first time",
        "PUT 201 acknowledged: the whole contract",
        "gone from the source",
    ]


def test_a_refusal_is_shown_in_customergauges_words(synced: Bench, sandbox: Sandbox) -> None:
    sandbox.strike('status=422 times=1 body={"errors":{"start":["Too_old."]}}')
    change(synced, 2, plan="Silver")
    synced.sync_once()

    assert list(lines(synced, "2"))[-2:] == [
        "changed description Gold → Silver",
        "PUT 422 start: Too_old. (description Gold → Silver)",
    ]


def test_an_acknowledgement_outlives_its_history(synced: Bench) -> None:
    synced.state("DELETE FROM delivery")

    assert list(lines(synced, "1")) == [
        "seen in the source, for the first time",
        "PUT acknowledged",
    ]


def test_a_contract_that_customergauge_lost_is_shown_as_recreated(
    synced: Bench, sandbox: Sandbox
) -> None:
    sandbox.ledger.held["contracts"].clear()
    synced.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1")
    synced.sync_once()

    assert "made anew, for CustomerGauge had lost it" in synced.run("contracts", "show", "1").out
