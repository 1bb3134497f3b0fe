"""How the daemon reports its polls while a reconcile runs beside them."""

import threading
from datetime import datetime

import pytest

from cdc_sync.capture.loop import Loops
from cdc_sync.capture.page import Capture
from cdc_sync.cli.run import ask_daemon
from cdc_sync.errors import SourceUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.state.history import Run
from cdc_sync.state.values import Presence
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


@pytest.mark.usefixtures("fast_beats")
def test_status_shows_the_error_of_the_last_poll_after_a_reconcile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    def last_poll(sync: Sync) -> dict[str, object]:
        return read_status(sync.state, sync.capture.now())["last_poll"] or {"rows": None}

    def reported_at() -> datetime:
        presence = bench.stored(Presence)
        assert presence is not None
        return presence.beat_at

    with bench.open(schedule=SCHEDULE) as sync, bench.daemon_thread():
        wait_until(lambda: last_poll(sync)["rows"] == 3, "the first poll is shown")
        monkeypatch.setattr("cdc_sync.capture.loop.poll", fail)
        assert ask_daemon(sync.state, "once")["error"] == "The source went away."
        assert ask_daemon(sync.state, "reconcile")["error"] is None
        reconciled_at = sync.capture.now()
        wait_until(lambda: reported_at() > reconciled_at, "the daemon reports once more")
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
