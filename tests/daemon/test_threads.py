"""The table of threads at the top of daemon/daemon.py has every thread of a running daemon."""

import re
import threading

from cdc_sync.daemon import daemon
from tests.support.bench import Bench
from tests.support.wait import wait_until


def documented() -> set[str]:
    return set(re.findall(r"^    (\w+)  +\S", daemon.__doc__ or "", re.MULTILINE)) - {"thread"}


def test_every_thread_of_a_daemon_has_its_row(bench: Bench):
    bench.rows.add({"id": 1})
    before = set(threading.enumerate())
    with bench.open(web={"listen": "127.0.0.1:0"}), bench.daemon_thread() as main:
        wait_until(lambda: bench.is_synced(1), "the contract is delivered")
        found = {one.name for one in set(threading.enumerate()) - before - {main}}

    assert {"capture", "reconcile", "requests", "delivery", "http", "web"} <= found
    assert "listener" not in found, "without a channel there is nothing to listen to"
    assert {name.replace("APScheduler", "scheduler") for name in found} <= documented()
