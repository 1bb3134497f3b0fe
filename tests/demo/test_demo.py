"""The demo as a whole."""

import threading

import pytest

from cdc_sync.daemon.daemon import Daemon
from cdc_sync.demo import demo


def test_the_demo_ends_when_its_daemon_dies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Daemon, "run", lambda _daemon, _stop: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.run_demo(60, threading.Event())
