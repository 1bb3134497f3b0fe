"""The daemon's threads: how they go on, and how they end."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdc_sync.capture.loop import save_reconcile
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.source.reader import Scan
from cdc_sync.state.history import STOPPED, Run
from tests.support.bench import Bench
from tests.support.wait import wait_until


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
    with bench.open(customergauge={"timeout": "1s"}):
        try:
            with bench.daemon_thread():
                assert hangs.wait(20)
        finally:
            released.set()
