"""Writers of a crash test: transactions that overlap, last, are prepared, and are rolled back."""

import threading
import time
from collections import Counter
from contextlib import suppress
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

import psycopg
from psycopg import errors, sql

from bench.chaos.source import INSERT, ChaosSource

WRITERS = 6
JOIN_SECONDS = 60.0
KINDS = {"short": 55, "overlapping": 18, "long": 8, "prepared": 9, "rolled_back": 10}
OPERATIONS = {"update": 45, "touch": 15, "revert": 20, "insert": 11, "delete": 9}
#: How long a transaction stays open after its first statements, in seconds.
HOLD = {
    "short": (0.0, 0.0),
    "overlapping": (0.05, 0.8),
    "long": (1.0, 5.0),
    "prepared": (0.0, 0.3),
    "rolled_back": (0.0, 0.5),
}
PREPARED_FOR = (0.3, 4.0)
# now() is the transaction's start, so that what commits late has a stamp that lies back.
_PICKED = (
    "(SELECT id FROM contracts WHERE {which} ORDER BY random() LIMIT %s FOR UPDATE SKIP LOCKED)"
)
_ANY = _PICKED.format(which="true")
_STATEMENTS = {
    "update": "UPDATE contracts SET revision = revision + 1, plan = 'r' || (revision + 1),"
    " color = (ARRAY['red', 'blue', 'green'])[1 + floor(random() * 3)::int],"
    " end_date = CASE WHEN random() < 0.8 THEN date '2027-01-01' + floor(random() * 700)::int END,"
    " updated_at = now() WHERE id IN " + _PICKED.format(which="mod(id, 4) <> 0"),
    "touch": "UPDATE contracts SET updated_at = now() WHERE id IN " + _ANY,
    "revert": "UPDATE contracts SET plan = CASE plan WHEN 'to' THEN 'fro' ELSE 'to' END,"
    " updated_at = now() WHERE id IN " + _PICKED.format(which="mod(id, 4) = 0"),
    "insert": INSERT,
    "delete": "DELETE FROM contracts WHERE id IN " + _ANY + " RETURNING account_name",
}


class _Prepared(NamedTuple):
    due: float
    gid: str
    commits: bool


class Writers:
    """Threads that write until they are stopped; a source that crashes is waited for."""

    def __init__(self, source: ChaosSource, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._prepared: list[_Prepared] = []
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(WRITERS)
        ]
        self.transactions: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.gone: set[str] = set()  #: accounts whose deletion was at least tried
        self.failed: list[BaseException] = []

    def start(self) -> None:
        """Begins to write."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends every transaction; raises what ended a writer that should not have ended."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_SECONDS)
        if self.failed:
            raise self.failed[0]
        with self._source.connect() as connection:
            for gid in _prepared_of(connection):
                connection.execute(sql.SQL("COMMIT PREPARED {}").format(gid))

    def _work(self, number: int) -> None:
        chance = Random(self._seed * 100 + number)
        try:
            while not self._stop.is_set():
                # A crash of the source ends the connection; a new one is tried for.
                with suppress(psycopg.OperationalError), self._source.connect() as connection:
                    self._write(connection, chance)
                self._stop.wait(0.05)
        except BaseException as error:
            self.failed.append(error)

    def _write(self, connection: psycopg.Connection[Any], chance: Random) -> None:
        turn = 0
        while not self._stop.wait(chance.uniform(0.0, 0.25)):
            turn += 1
            self._finish_prepared(connection)
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            try:
                self._transaction(connection, chance, kind)
                self._count(self.transactions, kind)
            except (errors.DeadlockDetected, errors.LockNotAvailable):
                connection.execute("ROLLBACK")
                self._count(self.transactions, "broken")
            except psycopg.OperationalError:
                self._count(self.transactions, "broken")
                raise

    def _transaction(self, connection: psycopg.Connection[Any], chance: Random, kind: str) -> None:
        connection.execute("BEGIN")
        self._operate(connection, chance, kind)
        if kind != "short":
            self._stop.wait(chance.uniform(*HOLD[kind]))
            for _ in range(chance.randint(0, 3)):
                self._operate(connection, chance, kind)
        if kind == "prepared":
            self._prepare(connection, chance)
        else:
            connection.execute("ROLLBACK" if kind == "rolled_back" else "COMMIT")

    def _operate(self, connection: psycopg.Connection[Any], chance: Random, kind: str) -> None:
        name = chance.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]
        done = connection.execute(_STATEMENTS[name], [chance.randint(1, 3)])
        if done.description is not None:
            # Before the commit: after a crash nobody would know whether it was one.
            self.gone.update(name for (name,) in done.fetchall())
        if kind != "rolled_back":
            self._count(self.changes, name)

    def _prepare(self, connection: psycopg.Connection[Any], chance: Random) -> None:
        gid = f"chaos {chance.random()}"
        connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(gid))
        due = time.monotonic() + chance.uniform(*PREPARED_FOR)
        self._keep_prepared(_Prepared(due, gid, commits=chance.random() < 0.8))

    def _finish_prepared(self, connection: psycopg.Connection[Any]) -> None:
        while (due := self._take_prepared()) is not None:
            end = "COMMIT" if due.commits else "ROLLBACK"
            try:
                # One whose end a crash cut off may have ended all the same.
                with suppress(errors.UndefinedObject):
                    connection.execute(sql.SQL(end + " PREPARED {}").format(due.gid))
            except psycopg.OperationalError:
                self._keep_prepared(due)
                raise

    def _take_prepared(self) -> _Prepared | None:
        with self._lock:
            if not self._prepared or self._prepared[0].due > time.monotonic():
                return None
            return heappop(self._prepared)

    def _keep_prepared(self, prepared: _Prepared) -> None:
        with self._lock:
            heappush(self._prepared, prepared)

    def _count(self, counter: Counter[str], name: str) -> None:
        with self._lock:
            counter[name] += 1


def _prepared_of(connection: psycopg.Connection[Any]) -> list[str]:
    query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    return [gid for (gid,) in connection.execute(query).fetchall()]
