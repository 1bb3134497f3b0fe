"""A reconcile reads every row."""

import threading
from typing import Any

import pytest

from cdc_sync.capture.reconcile import reconcile
from cdc_sync.state import holds
from tests.support.bench import Bench
from tests.support.wait import wait_until


def test_a_first_put_that_is_on_its_way_is_ended_when_its_row_goes_and_policy_is_end(bench: Bench):
    bench.rows.add({"id": 1}, {"id": 2})
    with bench.open(deletes={"policy": "end"}):
        bench.poll()
        bench.sandbox.strike("latency=1s times=2")
        with bench.daemon_thread():
            wait_until(lambda: bench.sandbox.faults.listed()[0]["struck"] == 2, "both PUTs left")
            bench.rows.remove(1)
            bench.reconcile()
            wait_until(lambda: bench.contract("1")["status"] == "gone", "the contract is ended")
    assert bench.sandbox.contracts()["erp-1"]["end"] is not None
    assert bench.sandbox.contracts()["erp-2"]["end"] is None


def test_a_reconcile_gives_signs_of_life_while_it_judges_and_ends_what_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """After an edit of `where` there may be hundreds of thousands, and a watchdog waits."""
    monkeypatch.setattr(holds, "PAGE", 2)
    bench.configure(deletes={"policy": "end"}, guard={"max_changes": 1.0, "min_contracts": 0})
    bench.rows.add(*({"id": number} for number in range(10)))
    with bench.open() as sync:
        bench.reconcile()
        bench.deliver()
        bench.rows.remove(*range(9))

        signs, of_the_end = [], 0
        really = holds._end

        def end(*given: Any) -> None:
            nonlocal of_the_end
            before = len(signs)
            really(*given)
            of_the_end = len(signs) - before

        monkeypatch.setattr(holds, "_end", end)
        reconcile(sync.capture, threading.Event(), signs.append)
        bench.deliver()

    assert of_the_end == 5, "one a page"
    ended = [name for name, one in bench.sandbox.contracts().items() if one["end"] is not None]
    assert len(ended) == 9
