"""A daemon in this process: what it tells systemd, and a run that hangs."""

import threading
import time
from collections.abc import Iterator

import pytest

from cdc_sync.errors import SourceUnavailable
from cdc_sync.state.history import Run


class Notifications:
    """The fields of sd_notify(3) that were sent, in order, and when the watchdog last was."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        self._watchdog_at = time.monotonic()

    def __call__(self, **fields: str) -> None:
        """Stands in for `notify`."""
        self.fields += fields
        if "WATCHDOG" in fields:
            self._watchdog_at = time.monotonic()

    def is_hang_shown(self) -> bool:
        """Whether the watchdog has heard nothing for longer than a healthy loop ever rests."""
        return time.monotonic() - self._watchdog_at > 2


@pytest.fixture
def fast_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that beats and reports many times a second."""
    monkeypatch.setattr("cdc_sync.daemon.daemon.BEAT_SECONDS", 0.02)
    monkeypatch.setattr("cdc_sync.daemon.daemon.PRESENCE_SECONDS", 0.1)


@pytest.fixture
def notified(fast_beats: None, monkeypatch: pytest.MonkeyPatch) -> Notifications:
    """What systemd is told by a daemon that it watches; half a second without progress is a hang."""
    notifications = Notifications()
    monkeypatch.setenv("WATCHDOG_USEC", "500000")
    monkeypatch.setattr("cdc_sync.daemon.daemon.HUNG_AFTER_SECONDS", 0.5)
    monkeypatch.setattr("cdc_sync.daemon.daemon.notify", notifications)
    return notifications


class Hang:
    """A run of the source that begins and does not come back until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, *_arguments: object) -> Run:
        """Stands in for `poll` or `reconcile`."""
        self.began.set()
        self.go_on.wait(60)
        raise SourceUnavailable("It was let go.")


@pytest.fixture
def hang() -> Iterator[Hang]:
    hang = Hang()
    yield hang
    hang.go_on.set()
