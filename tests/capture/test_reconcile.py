"""A reconcile reads every row."""

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
