"""The daemon beside a test: as a process that tells systemd how it is, or in a thread."""

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cdc_sync.daemon.daemon import Daemon
from cdc_sync.sync import Sync
from tests.support.wait import wait_until

ENDS_WITHIN = 20  # seconds


class DaemonProcess:
    """`cdc-sync run` as a process, and what it tells systemd."""

    def __init__(self, config: Path) -> None:
        address = f"cdc-sync-{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{address}")
        self._heard: list[str] = []
        self._log = config.with_name(f"log-{uuid.uuid4().hex[:6]}")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cdc_sync", "--config", str(config), "run"],
                env={**os.environ, "TZ": "UTC", "NOTIFY_SOCKET": f"@{address}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tells(self, field: str) -> bool:
        """Whether systemd was told so."""
        with suppress(BlockingIOError):
            for _ in range(1000):
                self._heard += self._socket.recv(4096).decode().splitlines()
        return field in self._heard

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text()

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> int:
        """Sends it a signal that ends it; the code that it ends with."""
        self._process.send_signal(number)
        return self._process.wait(ENDS_WITHIN)

    def close(self) -> None:
        """Kills it if it still runs."""
        if not self.ended():
            self._process.kill()
            self._process.wait(ENDS_WITHIN)
        self._socket.close()


@contextmanager
def running_process(config: Path) -> Iterator[DaemonProcess]:
    """The daemon of a configuration, once it is ready."""
    process = DaemonProcess(config)
    try:
        wait_until(lambda: process.tells("READY=1") or process.ended(), "the daemon is ready")
        assert process.tells("READY=1"), process.log()
        yield process
    finally:
        process.close()


class DaemonThread(threading.Thread):
    """The daemon in a thread; `error` is what ended it before it was stopped."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._runs = daemon

    def run(self) -> None:
        """Runs until it is stopped, or fails."""
        try:
            self._runs.run(self.stop)
        except BaseException as error:
            self.error = error


@contextmanager
def running_thread(sync: Sync, **options: Any) -> Iterator[DaemonThread]:
    """The daemon of a sync, with options of `Daemon`; at the end it must have ended."""
    thread = DaemonThread(Daemon(sync, **options))
    thread.start()
    try:
        yield thread
    finally:
        thread.stop.set()
        thread.join(ENDS_WITHIN)
        assert not thread.is_alive()
