"""What would change too much at once waits for a person, and nothing else does."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.capture.page import Capture
from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import recheck_held, reconcile
from cdc_sync.contract import Status
from cdc_sync.operations import actions
from cdc_sync.state.history import Run
from tests.journey.test_journey import STILL, Journey
from tests.support.rows import LONG_AGO, rows_in
from tests.support.sandbox import Sandbox

KNOWN = 10
ALL = range(1, KNOWN + 1)


@pytest.fixture(params=[1000, 3], ids=["one page", "pages"])
def standing(
    source_url: str, tmp_path: Path, sandbox: Sandbox, request: pytest.FixtureRequest
) -> Iterator[Journey]:
    """Ten contracts that CustomerGauge holds, in a run of one page and in one of several."""
    with rows_in(source_url) as rows:
        journey = Journey(tmp_path, rows, sandbox)
        journey.sections = {
            "guard": {"min_contracts": KNOWN},
            "source": {"page_size": request.param},
        }
        rows.add(*({"id": number, "updated_at": LONG_AGO} for number in ALL))
        journey.run()
        assert journey.puts() == KNOWN  # the first full scan is never held
        yield journey


def change(journey: Journey, count: int, **values: Any) -> None:
    for number in range(1, count + 1):
        journey.rows.change(number, **(values or {"plan": "Silver"}))


def delivered(journey: Journey, capture: Any = poll) -> int:
    journey.run(capture)
    return journey.puts()


def say(journey: Journey, *, ends: bool = False) -> dict[str, int]:
    """A person says: approve."""
    with journey.open() as sync:
        hold = actions.held_document(sync.state)
        assert hold is not None
        done = actions.approve(sync.state, hold["run"], ends=ends, now=sync.capture.now())
        sync.delivery.drain(STILL)
    return done


def test_a_share_that_is_allowed_goes(standing: Journey) -> None:
    change(standing, 2)
    assert delivered(standing) == 2


def test_more_is_held_and_the_rest_goes_on(standing: Journey) -> None:
    change(standing, 3)
    standing.rows.add({"id": 11})
    assert delivered(standing) == 1
    standing.rows.change(9, plan="Silver")
    assert delivered(standing) == 1, "a change of another contract goes on beside it"
    assert standing.statuses() == {Status.HELD: 3, Status.SYNCED: 8}
    assert delivered(standing, reconcile) == 0, "what is held stays held"

    assert say(standing) == {"released": 3, "held": 0}
    assert standing.puts() == 3
    assert standing.statuses() == {Status.SYNCED: 11}
    assert delivered(standing, reconcile) == 0


def test_what_is_held_is_shown(standing: Journey) -> None:
    change(standing, 3)
    standing.run()
    with standing.open() as sync:
        hold = actions.held_document(sync.state)
    assert hold is not None
    numbers = {name: hold[name] for name in ("held", "known", "updated", "new", "gone", "kind")}
    assert numbers == {
        "held": 3, "known": 10, "updated": 3, "new": 0, "gone": 0, "kind": "poll",
    }  # fmt: skip
    assert hold["examples"][0] == {
        "source_id": "1",
        "reference": "erp-1",
        "gone": False,
        "diff": {"description": ["Gold", "Silver"]},
    }


def test_a_held_contract_goes_with_its_newest_payload(standing: Journey) -> None:
    change(standing, 3)
    standing.run()
    standing.rows.change(1, plan="Bronze")
    assert delivered(standing) == 0
    say(standing)
    assert standing.puts() == 3
    assert standing.sandbox.contracts()["erp-1"]["description"] == "Bronze"


def test_a_change_that_is_taken_back_is_not_held_any_more(standing: Journey) -> None:
    change(standing, 3)
    standing.run()
    change(standing, 3, plan="Gold")
    assert delivered(standing) == 0
    assert standing.statuses() == {Status.SYNCED: 10}


def test_a_where_that_was_lost_holds_the_new_ones(standing: Journey) -> None:
    standing.rows.add(*({"id": number} for number in range(100, 111)))
    standing.rows.change(1, plan="Silver")
    assert delivered(standing) == 1, "a change beside them goes on"
    assert standing.statuses() == {Status.HELD: 11, Status.SYNCED: 10}
    say(standing)
    assert standing.puts() == 11


@pytest.mark.parametrize("policy", ["keep", "end"])
def test_gone_contracts_are_held(standing: Journey, policy: str) -> None:
    standing.sections["deletes"] = {"policy": policy}
    standing.rows.remove(1, 2, 3)
    assert delivered(standing, reconcile) == 0
    assert standing.statuses() == {Status.HELD: 3, Status.SYNCED: 7}
    say(standing, ends=policy == "end")
    assert standing.puts() == (3 if policy == "end" else 0)
    assert standing.statuses() == {Status.GONE: 3, Status.SYNCED: 7}


@pytest.mark.parametrize("guard", [{}, {"max_changes": "100%", "min_contracts": 0}])
def test_a_source_that_is_suddenly_empty_holds_everything(
    standing: Journey, guard: dict[str, Any]
) -> None:
    standing.sections["guard"] |= guard
    standing.sections["deletes"] = {"policy": "end"}
    standing.rows.remove()
    assert delivered(standing, reconcile) == 0
    assert standing.statuses() == {Status.HELD: 10}
    assert delivered(standing, reconcile) == 0
    standing.rows.add(*({"id": number, "updated_at": LONG_AGO} for number in ALL))
    assert delivered(standing, reconcile) == 0
    assert standing.statuses() == {Status.SYNCED: 10}


def test_discard_asks_the_source_anew(standing: Journey) -> None:
    change(standing, 4)
    standing.run()
    for number in (1, 2, 3):  # somebody mends what a poll does not see
        standing.rows.change_unstamped(number, plan="Gold")
    assert delivered(standing, recheck_held) == 1, "what is left is few, and goes"
    assert standing.statuses() == {Status.SYNCED: 10}
    assert standing.sandbox.contracts()["erp-4"]["description"] == "Silver"


def test_discard_holds_again_what_is_still_too_much(standing: Journey) -> None:
    change(standing, 4)
    standing.run()
    standing.rows.remove(1)
    assert delivered(standing, recheck_held) == 0
    with standing.open() as sync:
        hold = actions.held_document(sync.state)
    assert hold is not None
    assert {name: hold[name] for name in ("held", "updated", "gone", "kind")} == {
        "held": 4, "updated": 3, "gone": 1, "kind": "discard",
    }  # fmt: skip


@pytest.mark.parametrize("standing", [3], indirect=True)
@pytest.mark.parametrize("changed", [2, 3])
def test_what_a_run_cut_short_left_is_judged_by_the_next(standing: Journey, changed: int) -> None:
    change(standing, changed)
    for number in range(4, 8):
        standing.rows.change(number)  # touched: a second page, which is not reached

    def cut_short(capture: Capture, _stop: threading.Event) -> Run:
        stop = threading.Event()
        return poll(capture, stop, lambda _run: stop.set())

    assert delivered(standing, cut_short) == 0
    assert standing.statuses() == {Status.PENDING: changed, Status.SYNCED: 10 - changed}
    assert delivered(standing) == (0 if changed == 3 else 2)
    held = {Status.HELD: 3, Status.SYNCED: 7} if changed == 3 else {Status.SYNCED: 10}
    assert standing.statuses() == held


def test_what_came_while_a_person_looked_stays_held(standing: Journey) -> None:
    change(standing, 3)
    standing.run()
    with standing.open() as sync:
        hold = actions.held_document(sync.state)
    assert hold is not None
    for number in (5, 6, 7):
        standing.rows.change(number, plan="Silver")
    standing.run()
    with standing.open() as sync:
        done = actions.approve(sync.state, hold["run"], ends=False, now=sync.capture.now())
        sync.delivery.drain(STILL)
    assert done == {"released": 3, "held": 3}
    assert standing.puts() == 3
    assert standing.statuses() == {Status.HELD: 3, Status.SYNCED: 7}
