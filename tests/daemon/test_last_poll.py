"""What the daemon says of its polls while a reconcile runs beside them."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_sync.capture.loop import CaptureLoop
from cdc_sync.capture.page import Capture
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.cli.run import ask_daemon
from cdc_sync.errors import SourceUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.state.history import Run
from cdc_sync.sync import Sync
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox
from tests.support.there import There, running
from tests.support.wait import wait_until

STILL = threading.Event()
SCHEDULE = {"poll": "1h", "reconcile": "never"}


@pytest.fixture
def there(tmp_path: Path, sandbox: Sandbox) -> Iterator[There]:
    with rows_in(f"sqlite:///{tmp_path / 'source.db'}") as rows:
        rows.add(*({"id": number} for number in range(1, 4)))
        yield There(tmp_path, rows, sandbox)


def fail(_capture: Capture, *_arguments: object) -> Run:
    raise SourceUnavailable("The source went away.")


def test_status_shows_the_error_of_the_last_poll_after_a_reconcile(
    there: There, monkeypatch: pytest.MonkeyPatch
):
    def last_poll(sync: Sync) -> dict[str, object]:
        return read_status(sync.state, sync.capture.now())["last_poll"] or {"rows": None}

    with there.open(schedule=SCHEDULE) as sync, running(sync):
        wait_until(lambda: last_poll(sync)["rows"] == 3, "the first poll is shown")
        monkeypatch.setattr("cdc_sync.capture.loop.poll", fail)
        assert ask_daemon(sync.state, "once")["error"] == "The source went away."
        assert ask_daemon(sync.state, "reconcile")["error"] is None
        time.sleep(5)  # longer than the daemon waits to write it again
        assert (last_poll(sync)["error"], last_poll(sync)["rows"]) == ("The source went away.", 0)


def test_a_reconcile_does_not_count_as_a_good_poll(there: There, monkeypatch: pytest.MonkeyPatch):
    with there.open(schedule=SCHEDULE) as sync:
        loop = CaptureLoop(sync.capture, lambda: None)
        loop.poll(STILL)
        good = loop.last
        monkeypatch.setattr("cdc_sync.capture.loop.poll", fail)
        with pytest.raises(SourceUnavailable):
            loop.poll(STILL)

        reconcile(sync.capture, STILL)

    assert good is not None
    assert loop.last is not None
    assert loop.last.good_at == good.good_at  # what /healthz goes by
    assert loop.last.run.error == "The source went away."


def test_a_reconcile_does_not_hide_a_hung_poll_from_the_watchdog(there: There):
    with there.open(schedule=SCHEDULE) as sync:
        loop = CaptureLoop(sync.capture, lambda: None)
        began = loop.came_round

        reconcile(sync.capture, STILL)

    assert loop.came_round == began
