"""A stored value that this version cannot read: the daemon waits for it, and goes on afterwards."""

import pytest
from structlog.testing import capture_logs

from tests.support.bench import Bench
from tests.support.wait import wait_until


@pytest.mark.parametrize(
    ("key", "event"),
    [("pace", "state.unavailable"), ("paused", "state.unavailable"), ("pair", "poll.failed")],
)
def test_a_daemon_reports_a_value_that_it_cannot_read_and_goes_on_without_it(
    bench: Bench, key: str, event: str
):
    bench.rows.add({"id": 1})
    bench.execute_in_state(f"INSERT INTO control VALUES ('{key}', '[1]')")
    with capture_logs() as logs, bench.daemon_thread() as daemon:
        wait_until(
            lambda: any(
                entry["event"] == event and f"`{key}` cannot be read" in entry["reason"]
                for entry in list(logs)
            ),
            "the log names it",
        )
        bench.execute_in_state(f"DELETE FROM control WHERE key = '{key}'")
        wait_until(lambda: bench.is_synced(1), "the contract is delivered")
        assert daemon.is_alive()
        assert daemon.error is None


@pytest.mark.parametrize("key", ["last_reconcile", "request:7"])
def test_an_unreadable_report_or_request_keeps_nobody_from_polling(bench: Bench, key: str):
    bench.rows.add({"id": 1})
    bench.execute_in_state(f"INSERT INTO control VALUES ('{key}', '[1]')")
    with bench.daemon_thread():
        wait_until(lambda: bench.is_synced(1), "the contract is delivered")
