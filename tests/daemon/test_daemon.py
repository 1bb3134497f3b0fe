"""The daemon's threads: how they go on, and how they end."""

import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cdc_sync.capture.loop import save_reconcile
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations.status import find_troubles, read_status
from cdc_sync.source.reader import Scan
from cdc_sync.state import control
from cdc_sync.state.history import STOPPED, Run
from cdc_sync.state.values import Presence
from cdc_sync.sync import Sync
from tests.support.bench import Bench
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until


def daemon_of(sync: Sync) -> dict[str, Any]:
    """What `status` says of the daemon."""
    daemon: dict[str, Any] = read_status(sync.state, sync.capture.now())["daemon"]
    return daemon


def test_delivery_goes_on_when_our_clock_is_set_back(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.rows.add({"id": 1})
    ahead = [timedelta(days=1)]
    monkeypatch.setattr("cdc_sync.sync.utc_now", lambda: datetime.now(UTC) + ahead[-1])
    bench.sandbox.strike("status=429 retry_after=600 times=1")
    with bench.open(customergauge={"rate_limit": "5/s"}) as sync:
        bench.poll()
        with bench.daemon_thread():
            wait_until(lambda: sync.delivery.gate.shut_until, "everybody waits")
            ahead.append(timedelta())
            wait_until(lambda: bench.is_synced(1), "the contract was delivered")


def test_a_thread_that_dies_ends_the_daemon(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Scan, "full_page", lambda *_: 1 / 0)
    with bench.open(), bench.daemon_thread() as daemon:
        daemon.join(20)
        assert not daemon.is_alive()
    assert isinstance(daemon.error, ZeroDivisionError)


def test_status_names_the_error_that_ended_the_daemon_until_the_next_one_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Scan, "full_page", lambda *_: 1 / 0)
        with bench.open(), bench.daemon_thread() as daemon:
            daemon.join(20)
    status = bench.run("status")
    assert status.code == 1
    assert "ended by an error: ZeroDivisionError('division by zero')." in status.out

    with bench.open() as sync:
        with bench.daemon_thread():
            wait_until(lambda: daemon_of(sync)["running"], "the next daemon")
            assert daemon_of(sync)["error"] is None
        assert daemon_of(sync)["since"] is None


def test_a_first_poll_that_hangs_is_not_well(bench: Bench):
    with bench.open(schedule={"poll": "1s"}) as sync:
        now = sync.capture.now()
        began = Presence(os.getpid(), socket.gethostname(), now, now, role="active")
        with sync.state.begin() as tx:
            control.save(tx, began)

        def messages(seconds: float) -> list[str]:
            document = read_status(sync.state, now + timedelta(seconds=seconds))
            return [trouble.message for trouble in find_troubles(document, sync.config)]

        assert not messages(1)
        assert messages(6) == ["No poll has ended well for 6 s."]


@pytest.mark.parametrize("source_url", ["postgresql"], indirect=True)
def test_a_daemon_stops_while_its_source_is_locked(tmp_path: Path, sandbox: Sandbox, source_url):
    with Bench.with_table(tmp_path, sandbox, source_url) as bench:
        engine = sa.create_engine(source_url, poolclass=sa.NullPool)
        bench.configure(customergauge={"timeout": "60s"})  # which the end of a thread may take
        with engine.connect() as owner, engine.connect() as other, bench.open():
            owner.exec_driver_sql("LOCK TABLE contracts")
            with bench.daemon_thread():
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                wait_until(lambda: other.exec_driver_sql(waiting).scalar_one(), "a poll waits")


def test_a_reconcile_that_was_stopped_begins_anew_with_the_next_daemon(bench: Bench):
    bench.rows.add({"id": 1})
    with bench.open() as sync:
        bench.poll()
        now = datetime.now(UTC)
        save_reconcile(sync.capture, Run("reconcile", now).ended(now, STOPPED))
        with bench.daemon_thread():
            wait_until(
                lambda: read_status(sync.state, now)["last_reconcile"]["error"] is None, "it ended"
            )


def test_a_nightly_reconcile_that_dies_ends_the_daemon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    with bench.open(schedule={"reconcile": "1s"}):
        bench.poll()
        monkeypatch.setattr(Scan, "full_page", lambda *_: 1 / 0)
        with bench.daemon_thread() as daemon:
            daemon.join(20)
            assert not daemon.is_alive()


def test_a_daemon_stops_in_time_while_a_page_of_the_source_hangs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    hangs, released = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        released.wait(60)
        raise StateUnavailable("too late")

    monkeypatch.setattr(Scan, "full_page", hang)
    monkeypatch.setattr("cdc_sync.daemon.daemon.CANCEL_AFTER_SECONDS", 0.1)
    monkeypatch.setattr("cdc_sync.daemon.daemon.STOP_SECONDS", 0.5)
    with bench.open(customergauge={"timeout": "1s"}):
        try:
            with bench.daemon_thread():
                assert hangs.wait(20)
        finally:
            released.set()
