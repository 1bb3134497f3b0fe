"""The daemon of a crash test: a real process, killed at any instant, and what its state says."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.chaos.judge import Contracts, Kill, by_account

ROOT = Path(__file__).resolve().parents[2]
DEAD_FOR = 0.3  # seconds in which the last requests of the dead still arrive; no start is so quick
STOP_SECONDS = 40.0


class Rest(NamedTuple):
    """What the state says is left to send."""

    due: int  #: contracts that are pending, or on their way
    later: Contracts  #: acknowledged, and to be confirmed


class ChaosDaemon:
    """One daemon at a time over one configuration and one state, both in a folder."""

    def __init__(self, config: Path, double: str | None) -> None:
        self._config = config
        self._state = config.parent / "state.db"
        start = ["-m", "cdc_sync"] if double is None else ["-m", "bench.chaos.double", double]
        self._command = [sys.executable, *start, "--config", str(config), "run"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process; what it says goes to daemon.log beside the configuration."""
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
        if self._process is None:
            raise RuntimeError("there is no daemon to kill")
        at = time.monotonic()
        self._process.kill()
        self._process.wait()
        self._process = None
        return Kill(at, time.monotonic() + DEAD_FOR, self._claimed())

    def stop(self) -> int:
        """SIGTERM; its exit code. One that does not end is killed, and its code is not 0."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(STOP_SECONDS)
        process.kill()
        return process.wait()

    def rest(self) -> Rest:
        """What is left to send."""
        due, later = self._look(
            "SELECT coalesce(sum(status = 'pending' OR claimed_by IS NOT NULL), 0),"
            " json_group_array(json(payload)) FILTER"
            " (WHERE status = 'synced' AND next_attempt_at IS NOT NULL) FROM contract"
        )
        return Rest(due, by_account(json.loads(later)))

    def poll_began(self) -> datetime | None:
        """When the last poll that ended well began."""
        (began,) = self._look(
            "SELECT max(json_extract(value, '$.started')) FROM control"
            " WHERE key = 'last_poll' AND json_extract(value, '$.error') IS NULL"
        )
        return datetime.fromisoformat(began) if began else None

    def has_watermark(self) -> bool:
        """Whether its first scan has ended, so that polls are what finds changes."""
        with suppress(sqlite3.OperationalError):  # nothing is there yet
            return bool(self._look("SELECT count(value) FROM watermark")[0])
        return False

    def scans(self) -> int:
        """How many runs were full scans: the first, and what could mend a poll's losses."""
        return int(self._look("SELECT count(*) FROM run WHERE kind <> 'poll'")[0])

    def basis(self) -> str:
        """The rung that its horizon stood on last."""
        query = "SELECT max(json_extract(value, '$.basis')) FROM control WHERE key = 'horizon'"
        return str(self._look(query)[0])

    def _look(self, query: str) -> Any:
        with closing(sqlite3.connect(f"file:{self._state}?mode=ro", uri=True)) as state:
            return state.execute(query).fetchone()

    def _claimed(self) -> dict[str, float]:
        """By reference, since when, on the monotonic clock; from a copy, for looking recovers."""
        if not self._state.exists():
            return {}
        with tempfile.TemporaryDirectory(prefix="cdc-sync-chaos-") as folder:
            for file in (self._state, Path(f"{self._state}-wal")):
                if file.exists():
                    shutil.copy(file, folder)
            with closing(sqlite3.connect(Path(folder) / self._state.name)) as state:
                return _claimed_in(state)


def _claimed_in(state: sqlite3.Connection) -> dict[str, float]:
    rows: list[Any] = []
    with suppress(sqlite3.OperationalError):  # killed before it had made the table
        rows = state.execute(
            "SELECT reference, in_doubt FROM contract WHERE claimed_by IS NOT NULL"
        ).fetchall()
    ahead = time.monotonic() - datetime.now(UTC).timestamp()
    return {
        reference: datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp() + ahead
        for reference, since in rows
    }
