"""What systemd is told of a daemon, and when."""

from datetime import datetime, timedelta

import pytest

from cdc_sync.capture.loop import LastPoll, save_last_poll
from cdc_sync.delivery.loop import Delivery
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations.status import find_troubles, read_status
from cdc_sync.state.history import Run
from cdc_sync.state.values import ReconcileReport
from tests.daemon.conftest import Hang, Notifications
from tests.support.bench import Bench
from tests.support.wait import wait_until

SCHEDULE = {"poll": "1h", "reconcile": "never"}


def _last_reconcile(bench: Bench) -> datetime:
    report = bench.stored(ReconcileReport)
    assert report is not None
    return report.started


def test_a_state_that_is_away_is_waited_for_and_not_taken_for_a_hang(
    bench: Bench, notified: Notifications, monkeypatch: pytest.MonkeyPatch
):
    refused = []

    def away(*_arguments: object) -> None:
        refused.append(notified.fields.count("WATCHDOG"))
        raise StateUnavailable("The state database does not work.")

    with bench.open(), bench.daemon_thread():
        wait_until(lambda: "WATCHDOG" in notified.fields, "the daemon is well")
        monkeypatch.setattr("cdc_sync.state.control.save", away)
        wait_until(
            lambda: refused and notified.fields.count("WATCHDOG") > refused[0] + 5,
            "the watchdog is told that all is well",
        )


def test_a_hung_delivery_is_seen(
    bench: Bench, notified: Notifications, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Delivery, "run", lambda _delivery, stop: stop.wait())

    with bench.open(), bench.daemon_thread():
        wait_until(notified.is_hang_shown, "the watchdog is not told that all is well")


def test_a_stop_asks_for_the_time_that_a_request_may_take(bench: Bench, notified: Notifications):
    with bench.open(), bench.daemon_thread():
        wait_until(lambda: "WATCHDOG" in notified.fields, "the daemon is well")

    assert notified.fields[-3:] == ["STOPPING", "STATUS", "EXTEND_TIMEOUT_USEC"]


@pytest.mark.usefixtures("fast_beats")
def test_until_its_first_poll_the_last_one_of_the_daemon_before_is_shown(
    bench: Bench, hang: Hang, monkeypatch: pytest.MonkeyPatch
):
    with bench.open(schedule=SCHEDULE) as sync:
        bench.poll()
        now = sync.capture.now()
        save_last_poll(
            sync.capture, LastPoll(Run("poll", now).ended(now), now - timedelta(days=2000))
        )
        monkeypatch.setattr("cdc_sync.capture.loop.poll", hang)
        with bench.daemon_thread():
            assert hang.began.wait(20)
            wait_until(
                lambda: read_status(sync.state, now)["daemon"]["role"] == "active",
                "the daemon reports that it captures",
            )
            shown = read_status(sync.state, sync.capture.now())
            troubles = list(find_troubles(shown, sync.config))
            hang.go_on.set()

    assert shown["last_poll"]["finished"] is not None
    assert troubles == []  # it has not been late for the time without a daemon


def test_a_hung_poll_is_seen_while_reconciles_go_on(
    bench: Bench, notified: Notifications, hang: Hang, monkeypatch: pytest.MonkeyPatch
):
    bench.rows.add({"id": 1})
    with bench.open(schedule={"poll": "1s", "reconcile": "1s"}) as sync, bench.daemon_thread():
        wait_until(lambda: bench.is_synced(1), "the first poll")
        monkeypatch.setattr("cdc_sync.capture.loop.poll", hang)
        assert hang.began.wait(20)
        began = sync.capture.now()
        wait_until(notified.is_hang_shown, "the watchdog is not told that all is well")
        wait_until(lambda: _last_reconcile(bench) > began, "reconciles go on")
        hang.go_on.set()


def test_a_hung_reconcile_is_seen_while_polls_go_on(
    bench: Bench, notified: Notifications, hang: Hang, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cdc_sync.capture.loop.reconcile", hang)
    with bench.open(schedule={"poll": "1s", "reconcile": "1s"}), bench.daemon_thread():
        assert hang.began.wait(20)
        wait_until(notified.is_hang_shown, "the watchdog is not told that all is well")
        hang.go_on.set()
