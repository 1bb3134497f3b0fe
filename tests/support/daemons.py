"""The daemon beside a test: as a process that tells systemd how it is, or in a thread."""

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from cdc_sync.daemon.daemon import Daemon
from cdc_sync.sync import Sync
from tests.support.wait import wait_until
from tests.support.warm import ForkedProcess

ENDS_WITHIN = 20  # seconds


class DaemonProcess:
    """`cdc-sync run` as a process, and what it tells systemd."""

    def __init__(self, config: Path, *, forked: bool = True) -> None:
        """Starts it; forked from a warm process, or with a command line and environment of its own."""
        address = f"cdc-sync-{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{address}")
        self._heard: list[str] = []
        self._log = config.with_name(f"log-{uuid.uuid4().hex[:6]}")
        with self._log.open("w") as log, Path(os.devnull).open("r+") as nothing:
            arguments = ["--config", str(config), "run"]
            env = {**os.environ, "TZ": "UTC", "NOTIFY_SOCKET": f"@{address}"}
            streams = (nothing, nothing, log)
            self._process = (ForkedProcess if forked else _start)(arguments, env, streams)

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
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(ENDS_WITHIN)
        self._socket.close()


def _start(
    arguments: Sequence[str], env: Mapping[str, str], streams: Sequence[IO[str]]
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "cdc_sync", *arguments]
    stdin, stdout, stderr = streams
    return subprocess.Popen(command, env=env, stdin=stdin, stdout=stdout, stderr=stderr)


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
