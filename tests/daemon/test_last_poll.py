"""What the daemon says of its polls while a reconcile runs beside them."""

import threading
import time

import pytest

from cdc_sync.capture.loop import Loops
from cdc_sync.capture.page import Capture
from cdc_sync.cli.run import ask_daemon
from cdc_sync.errors import SourceUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.state.history import Run
from cdc_sync.sync import Sync
from tests.support.bench import Bench
from tests.support.wait import wait_until

STILL = threading.Event()
SCHEDULE = {"poll": "1h", "reconcile": "never"}


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.rows.add(*({"id": number} for number in range(1, 4)))
    return bench


def fail(_capture: Capture, *_arguments: object) -> Run:
    raise SourceUnavailable("The source went away.")


def test_status_shows_the_error_of_the_last_poll_after_a_reconcile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    def last_poll(sync: Sync) -> dict[str, object]:
        return read_status(sync.state, sync.capture.now())["last_poll"] or {"rows": None}

    with bench.open(schedule=SCHEDULE) as sync, bench.daemon_thread():
        wait_until(lambda: last_poll(sync)["rows"] == 3, "the first poll is shown")
        monkeypatch.setattr("cdc_sync.capture.loop.poll", fail)
        assert ask_daemon(sync.state, "once")["error"] == "The source went away."
        assert ask_daemon(sync.state, "reconcile")["error"] is None
        time.sleep(5)  # longer than the daemon waits to write it again
        assert (last_poll(sync)["error"], last_poll(sync)["rows"]) == ("The source went away.", 0)


def test_a_reconcile_does_not_count_as_a_good_poll(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    with bench.open(schedule=SCHEDULE) as sync:
        loops = Loops(sync.capture)
        loop = loops.polls
        loop.poll(STILL)
        good = loop.last
        monkeypatch.setattr("cdc_sync.capture.loop.poll", fail)
        with pytest.raises(SourceUnavailable):
            loop.poll(STILL)

        loops.reconciles.reconcile(STILL)

    assert good is not None
    assert loop.last is not None
    assert loop.last.good_at == good.good_at  # what /healthz goes by
    assert loop.last.run.error == "The source went away."


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When systemd was last told that the daemon is well; a second without progress is a hang."""
    told = [time.monotonic()]

    def notify(**fields: str) -> None:
        if "WATCHDOG" in fields:
            told[0] = time.monotonic()

    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setattr("cdc_sync.daemon.daemon.notify", notify)
    monkeypatch.setattr("cdc_sync.daemon.daemon.HUNG_AFTER_SECONDS", 2.0)
    return told


def test_a_hung_poll_is_seen_while_reconciles_go_on(
    bench: Bench, watchdog: list[float], monkeypatch: pytest.MonkeyPatch
):
    hung, go_on = threading.Event(), threading.Event()

    def hang(_capture: Capture, *_arguments: object) -> Run:
        hung.set()
        go_on.wait()
        raise SourceUnavailable("It was let go.")

    def is_silent() -> bool:
        assert ask_daemon(sync.state, "reconcile")["error"] is None
        return time.monotonic() - watchdog[0] > 4

    with bench.open(schedule={**SCHEDULE, "poll": "1s"}) as sync, bench.daemon_thread():
        wait_until(lambda: bench.is_synced(3), "the first poll")
        monkeypatch.setattr("cdc_sync.capture.loop.poll", hang)
        try:
            assert hung.wait(20)
            wait_until(is_silent, "the watchdog is not told that all is well")
        finally:
            go_on.set()


def test_a_hung_reconcile_is_seen_while_polls_go_on(
    bench: Bench, watchdog: list[float], monkeypatch: pytest.MonkeyPatch
):
    hung, go_on = threading.Event(), threading.Event()

    def hang(_capture: Capture, *_arguments: object) -> Run:
        hung.set()
        go_on.wait()
        raise SourceUnavailable("It was let go.")

    monkeypatch.setattr("cdc_sync.capture.loop.reconcile", hang)
    with bench.open(schedule={"poll": "1s", "reconcile": "1s"}), bench.daemon_thread():
        try:
            assert hung.wait(20)
            wait_until(
                lambda: time.monotonic() - watchdog[0] > 4,
                "the watchdog is not told that all is well",
            )
        finally:
            go_on.set()
