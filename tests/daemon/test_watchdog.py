"""What systemd hears of a daemon, and when."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_sync.capture.loop import LastPoll, save_last_poll
from cdc_sync.capture.poll import poll
from cdc_sync.config.load import load_config
from cdc_sync.daemon import daemon as module
from cdc_sync.daemon.daemon import Daemon
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.state.history import Run
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.bench import Bench

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def sync(tmp_path: Path) -> Iterator[Sync]:
    config = load_config(Bench.with_contracts(tmp_path).config, {})
    with open_sync(config, redaction_of(config)) as sync:
        yield sync


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    monkeypatch.setattr(Daemon, "_follow_lease", lambda _daemon, **_held: None)
    monkeypatch.setattr(module, "notify", lambda **fields: found.extend(fields))
    return found


def test_a_state_that_is_away_is_waited_for_and_not_taken_for_a_hang(
    sync: Sync, heard: list[str], monkeypatch: pytest.MonkeyPatch
):
    def away(_daemon: Daemon) -> None:
        raise StateUnavailable("The state database does not work.")

    monkeypatch.setattr(Daemon, "_report", away)

    Daemon(sync)._beat()

    assert heard == ["WATCHDOG"]


def test_a_delivery_that_hangs_is_not_covered_up(sync: Sync, heard: list[str]):
    sync.delivery.last_progress -= module.HUNG_AFTER_SECONDS + 1

    Daemon(sync)._beat()

    assert heard == ["STATUS"]


def test_a_stop_asks_for_the_time_that_a_request_may_take(sync: Sync, heard: list[str]):
    Daemon(sync)._notify_stopping()

    assert heard == ["STOPPING", "STATUS", "EXTEND_TIMEOUT_USEC"]


def test_until_its_first_poll_the_last_one_of_the_daemon_before_is_told(
    sync: Sync, heard: list[str]
):
    poll(sync.capture, threading.Event())
    save_last_poll(
        sync.capture, LastPoll(Run("poll", sync.capture.now()).ended(sync.capture.now()), LONG_AGO)
    )
    daemon = Daemon(sync)
    daemon._capturing.running = True
    daemon._beat()

    reported = read_status(sync.state, sync.capture.now())["last_poll"]
    assert reported["finished"] is not None
    assert reported["good_age_seconds"] < 60  # it has not been late for the time without a daemon
