"""A reconcile reads every row."""

import threading

from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import reconcile
from tests.support.there import There, running, status_of
from tests.support.wait import wait_until

STILL = threading.Event()


def test_a_first_put_that_is_on_its_way_is_ended_when_its_row_goes_and_policy_is_end(there: There):
    there.rows.add({"id": 1}, {"id": 2})
    with there.open(deletes={"policy": "end"}) as sync:
        poll(sync.capture, STILL)
        there.sandbox.strike("latency=1s times=2")
        with running(sync):
            wait_until(lambda: there.sandbox.faults.listed()[0]["struck"] == 2, "both PUTs left")
            there.rows.remove(1)
            reconcile(sync.capture, STILL)
            wait_until(lambda: status_of(sync, "1") == "gone", "the contract is ended")
    assert there.sandbox.contracts()["erp-1"]["end"] is not None
    assert there.sandbox.contracts()["erp-2"]["end"] is None
