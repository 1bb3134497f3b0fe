"""A state that fails, fills up, drops its sessions or is another's: nothing is lost or sent twice."""

import threading
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from cdc_sync.clock import utc_now
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.state import contracts, outbox
from cdc_sync.state.database import Database
from cdc_sync.state.lease import ADVISORY_LOCK
from cdc_sync.sync import Sync
from tests.support.bench import Bench
from tests.support.wait import wait_until


def test_delivery_outlives_a_state_that_fails_between_two_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    failed = threading.Event()
    next_due_at = outbox.next_due_at

    def fail_once(tx: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise StateUnavailable("The state's server restarts.")
        return next_due_at(tx)

    with bench.open() as sync, bench.daemon_thread():
        wait_until(lambda: sync.delivery.last_progress, "delivery turns")
        monkeypatch.setattr(outbox, "next_due_at", fail_once)
        assert failed.wait(20)
        bench.rows.add({"id": 1})
        bench.reconcile()
        wait_until(lambda: bench.is_synced(1), "the contract was delivered")


def test_a_full_disk_loses_nothing_and_delivery_goes_on_with_room(bench: Bench):
    bench.rows.add(*({"id": n} for n in range(50)))
    with bench.open() as sync:
        bench.poll()
        _pages_at_most(sync.state, 1)
        with pytest.raises(StateUnavailable, match="full"):
            _fill(bench, sync)
        _pages_at_most(sync.state, 1_000_000)
        run = bench.poll()
        bench.deliver()
        assert run.error is None
        with sync.state.read() as tx:
            known = sum(contracts.count_by_status(tx).values())
    assert len(bench.sandbox.contracts()) == len(bench.sandbox.puts()) == known


def _fill(bench: Bench, sync: Sync) -> None:
    for n in range(1, 100):
        bench.rows.add(*({"id": 1000 * n + k} for k in range(100)))
        bench.poll()


def _pages_at_most(state: Database, pages: int) -> None:
    state.engine.dispose()  # the limit is a connection's own, and there is one from here on
    with state.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def with_state_server(bench: Bench, postgresql_url: str) -> dict[str, dict[str, Any]]:
    return {"state": {"url": postgresql_url}}


def test_a_state_server_that_drops_everybody_costs_no_put_and_no_lock(
    bench: Bench, with_state_server: dict[str, dict[str, Any]]
):
    sections = {**with_state_server, "schedule": {"poll": "1s"}}
    with bench.open(**sections), bench.daemon_thread():
        bench.rows.add({"id": 1})
        wait_until(lambda: bench.is_synced(1), "the first contract was delivered")
        _drop_all_sessions(with_state_server["state"]["url"])
        bench.rows.add({"id": 2})
        wait_until(lambda: bench.is_synced(2), "what was captured since was delivered")
        address = with_state_server["state"]["url"]
        wait_until(lambda: _is_locked(address), "the lock is ours again")
    assert len(bench.sandbox.puts()) == 2


def test_a_daemon_whose_lock_another_process_took_stands_by_until_it_is_free(
    bench: Bench, with_state_server: dict[str, dict[str, Any]]
):
    address = with_state_server["state"]["url"]

    def role() -> str | None:
        return next((one["role"] for one in read_status(sync.state, utc_now())["instances"]), None)

    with (
        bench.open(**with_state_server) as sync,
        bench.daemon_thread() as daemon,
        psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as thief,
    ):
        wait_until(lambda: role() == "active", "the daemon runs")
        _drop_all_sessions(address, but=thief.info.backend_pid)
        wait_until(lambda: _takes_lock(thief), "the lock is taken")
        wait_until(lambda: role() == "standby", "it stands by")
        with pytest.raises(StateUnavailable), sync.capture.state.begin():
            pytest.fail("what it captured until now is not written any more")
        thief.execute("SELECT pg_advisory_unlock_all()")
        wait_until(lambda: role() == "active", "it captures again")
        assert daemon.is_alive()


def _drop_all_sessions(address: str, but: int = 0) -> None:
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            " AND pid NOT IN (pg_backend_pid(), %s)",
            (make_url(address).database, but),
        )


def _is_locked(address: str) -> bool:
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as server:
        return not _takes_lock(server)


def _takes_lock(server: psycopg.Connection) -> bool:
    row = server.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_LOCK,)).fetchone()
    return bool(row and row[0])
