"""The daemons of a crash test: real processes, killed at any instant, or frozen and woken."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bench.chaos.judge import Kill
from bench.chaos.state import State, claimed

ROOT = Path(__file__).resolve().parents[2]
DEAD_FOR = 0.3  # seconds in which the last requests of the dead still arrive; no start is so quick
COMMIT_SECONDS = 0.05  # a commit that had left may still be under way in the state's server
LATE_FOR = 3.0  # seconds until one that woke has recorded what it did not know to be late
STOP_SECONDS = 40.0


class ChaosDaemon:
    """One daemon at a time over a configuration, whose folder gets what it says."""

    def __init__(self, config: Path, state: State, double: str | None) -> None:
        self._config = config
        self._state = state
        start = ["-m", "cdc_sync"] if double is None else ["-m", "bench.chaos.double", double]
        self._command = [sys.executable, *start, "--config", str(config), "run"]
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: Kill | None = None
        self.started_at = self.wakes_at = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def was_ready(self) -> bool:
        """Whether it has said that it had started."""
        return f'"pid": {self.pid},' in (self._config.parent / "daemon.log").read_text()

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None

    def start(self) -> None:
        """Starts the process; what it says goes to daemon.log beside the configuration."""
        self.started_at = time.monotonic()
        with (self._config.parent / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._config.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def died(self) -> int | None:
        """The exit code of one that ended by itself."""
        return self._process.poll() if self._process else None

    def kill(self) -> Kill:
        """Kill -9; answers what was claimed at that instant."""
        process, self._process = self._running(), None
        # Another that starts right now finds it dead, and frees its claims before we look.
        before, at = self._claims_of(process), time.monotonic()
        process.kill()
        process.wait()
        over = time.monotonic() + DEAD_FOR
        time.sleep(COMMIT_SECONDS)
        return Kill(at, over, before | self._claims_of(process))

    def freeze(self, seconds: float) -> None:
        """Lets the process stand still, until it is woken."""
        process, at = self._running(), time.monotonic()
        process.send_signal(signal.SIGSTOP)
        self.wakes_at = at + seconds
        time.sleep(COMMIT_SECONDS)
        self._frozen = Kill(at, at, self._claims_of(process), "freeze")

    def wake(self) -> Kill:
        """Lets it go on; answers what was claimed when it froze."""
        frozen, self._frozen = self._frozen, None
        if frozen is None:
            raise RuntimeError("the daemon is not frozen")
        self._running().send_signal(signal.SIGCONT)
        return frozen._replace(over=time.monotonic() + LATE_FOR)

    def stop(self) -> int:
        """SIGTERM; its exit code. One that does not end is killed, and its code is not 0."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGCONT)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(STOP_SECONDS)
        process.kill()
        return process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("there is no daemon")
        return self._process

    def _claims_of(self, process: "subprocess.Popen[bytes]") -> dict[str, float]:
        return claimed(self._state, f"{socket.gethostname()}:{process.pid}")
