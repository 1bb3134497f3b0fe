"""A bench to test a sync on: its source, CustomerGauge, configuration and state, in one folder.

    def test_a_change_is_sent(bench: Bench) -> None:
        bench.configure(customergauge={"concurrency": 1})   # keys of config.yaml
        bench.rows.add({"id": 1})                           # the source's own application
        bench.sandbox.strike("status=500 times=1")          # CustomerGauge, and what it suffers
        bench.run("once")                                   # a command, as a process of its own

        assert bench.contract("1")["status"] == "synced"
        assert len(bench.sandbox.puts("erp-1")) == 1

A test acts in one of three ways:

- `run` starts a command as a process, `daemon_process` the daemon;
- `poll`, `reconcile` and `deliver` use the parts in this process, with `bench.sync`: it is opened when
  it is first asked for, and stays open until `close`, after which the next use is like that of a new
  process; `sync_once` is all of it at once;
- `daemon_thread` runs the daemon in this process, `delivery_thread` its delivery alone.

The source is SQLite unless a URL is given. A bench made by `with_contracts` has four rows in it.
"""

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from cdc_sync.capture.page import Capture
from cdc_sync.capture.poll import poll as poll_source
from cdc_sync.capture.reconcile import reconcile as reconcile_source
from cdc_sync.clock import utc_now
from cdc_sync.config.load import load_config
from cdc_sync.contract import Status
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations import actions
from cdc_sync.state import contracts, control
from cdc_sync.state.history import Run
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.commands import Ran, run_command
from tests.support.configs import write_config
from tests.support.daemons import DaemonProcess, DaemonThread, running_process, running_thread
from tests.support.rows import Rows
from tests.support.sandbox import Sandbox, running_sandbox

#: The stamp of a change, in the statements that `source` takes.
NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
NEVER = threading.Event()  # for what can be stopped, and is not
NOWHERE = "http://127.0.0.1:1"  # where nobody answers
ENDS_WITHIN = 20.0  # seconds
ACCOUNTS = ((1, "ACME"), (2, "Globex"), (3, "Initech"), (4, ""))

V = TypeVar("V")


class Bench:
    """Source, sandbox, configuration and state of one sync; closed at the end of a `with`."""

    def __init__(
        self,
        folder: Path,
        sandbox: Sandbox | None = None,
        source_url: str | None = None,
        **sections: dict[str, Any],
    ) -> None:
        """Writes the configuration; without a sandbox, nobody answers where CustomerGauge should."""
        self.folder = folder
        self.config = folder / "config.yaml"
        self._sandbox = sandbox
        self._source_url = source_url
        self._sections: dict[str, dict[str, Any]] = {}
        self._opened = ExitStack()
        self._started = ExitStack()
        self._seen_puts = 0
        self.configure(**sections)

    @classmethod
    def with_table(
        cls,
        folder: Path,
        sandbox: Sandbox | None = None,
        source_url: str | None = None,
        **sections: dict[str, Any],
    ) -> Self:
        """A bench whose source, on any database, has the empty table `contracts`."""
        bench = cls(folder, sandbox, source_url, **sections)
        bench.rows = Rows(bench.rows_url)
        return bench

    @classmethod
    def with_contracts(
        cls,
        folder: Path,
        sandbox: Sandbox | None = None,
        *,
        watermark: str = "TEXT",
        **sections: dict[str, Any],
    ) -> Self:
        """A bench whose SQLite source has three good contracts, and a fourth without account."""
        bench = cls(folder, sandbox, None, **sections)
        bench.source(
            "CREATE TABLE contracts (id INTEGER PRIMARY KEY, account_name TEXT, start_date TEXT,"
            f" end_date TEXT, plan TEXT, updated_at {watermark})"
        )
        for number, account in ACCOUNTS:
            stamp = f"'2026-01-0{number} 12:00:00'" if watermark == "TEXT" else str(number * 100)
            bench.source(
                f"INSERT INTO contracts VALUES ({number}, '{account}', '2024-01-01', '2026-12-31',"
                f" 'Gold', {stamp})"
            )
        return bench

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()
        self._started.close()

    # The configuration

    def configure(self, **sections: dict[str, Any]) -> None:
        """Changes keys of config.yaml; a sync that is open is closed."""
        self.close()
        for section, keys in sections.items():
            self._sections[section] = {**self._sections.get(section, {}), **keys}
        api = self._sandbox.url if self._sandbox else NOWHERE
        url = self._source_url or "sqlite:///source.db"
        write_config(self.config, url, api, **self._sections)

    def edit_config(self, old: str, new: str) -> None:
        """Changes the text of config.yaml, as a person does."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    # The source

    @property
    def rows_url(self) -> str:
        """Where the source is, for its own application."""
        return self._source_url or f"sqlite:///{self.folder / 'source.db'}"

    @cached_property
    def rows(self) -> Rows:
        """The table `contracts`, on any database; made when it is first asked for."""
        return Rows(self.rows_url)

    def source(self, *statements: str) -> None:
        """Runs statements in a SQLite source, each committed."""
        with closing(sqlite3.connect(self.folder / "source.db")) as source:
            for statement in statements:
                source.execute(statement)
                source.commit()

    # CustomerGauge

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox that the configuration points at."""
        assert self._sandbox is not None
        return self._sandbox

    def use_sandbox(self, **options: Any) -> Sandbox:
        """Starts another sandbox, with these options, and points the configuration at it."""
        self._sandbox = self._started.enter_context(running_sandbox(**options))
        self.configure()
        return self._sandbox

    def new_puts(self) -> int:
        """How many PUTs were applied since this was last asked."""
        applied = len(self.sandbox.puts())
        new, self._seen_puts = applied - self._seen_puts, applied
        return new

    def statuses_answered(self) -> Counter[int | None]:
        """How often the sandbox gave which HTTP status."""
        return Counter(entry.status for entry in self.sandbox.ledger.entries())

    # Processes

    def run(self, *arguments: str, answer: str | None = None) -> Ran:
        """Runs a command as a process; with an `answer` on a terminal, else on none."""
        return run_command(["--config", str(self.config), *arguments], answer)

    def start_daemon(self, *, forked: bool = True) -> DaemonProcess:
        """Starts the daemon as a process, which the caller closes; it may not be ready yet."""
        return DaemonProcess(self.config, forked=forked)

    @contextmanager
    def daemon_process(self) -> Iterator[DaemonProcess]:
        """The daemon as a process, once it is ready; killed at the end if it still runs."""
        with running_process(self.config) as process:
            yield process

    # The parts, in this process

    @property
    def sync(self) -> Sync:
        """The sync of the configuration, opened when it is first asked for."""
        if self._sync is None:
            config = load_config(self.config, os.environ)
            self._sync = self._opened.enter_context(open_sync(config, redaction_of(config)))
        return self._sync

    _sync: Sync | None = None

    def close(self) -> None:
        """Closes the sync, if it is open."""
        self._opened.close()
        self._sync = None

    @contextmanager
    def open(self, **sections: dict[str, Any]) -> Iterator[Sync]:
        """The sync, after a change of the configuration; closed at the end."""
        if sections:
            self.configure(**sections)
        try:
            yield self.sync
        finally:
            self.close()

    @contextmanager
    def _borrowed(self) -> Iterator[Sync]:
        """The sync as it is: left open if it was, else closed again."""
        was_open = self._sync is not None
        try:
            yield self.sync
        finally:
            if not was_open:
                self.close()

    def poll(self) -> Run:
        """Polls once; the sync stays open."""
        return poll_source(self.sync.capture, NEVER)

    def reconcile(self) -> Run:
        """Reconciles once; the sync stays open."""
        return reconcile_source(self.sync.capture, NEVER)

    def deliver(self) -> None:
        """Sends all that is due; the sync stays open."""
        self.sync.delivery.drain(NEVER)

    def add_contracts(self, count: int) -> None:
        """Inserts the rows 1 to `count`, and polls them."""
        self.rows.add(*({"id": number} for number in range(1, count + 1)))
        self.poll()

    def change_contract(self, row_id: int, **values: Any) -> None:
        """Updates a row and its stamp, and polls it."""
        self.rows.change(row_id, **values)
        self.poll()

    def sync_once(
        self,
        capture: Callable[[Capture, threading.Event], Run] = poll_source,
        *,
        deliver: bool = True,
    ) -> Run:
        """A poll or another run, and the delivery of what is due, as a new process does it."""
        self.close()
        with self.open() as sync:
            run = capture(sync.capture, NEVER)
            if deliver:
                sync.delivery.drain(NEVER)
        return run

    @contextmanager
    def delivery_thread(self) -> Iterator[None]:
        """Delivery as the daemon runs it, beside the test."""
        stop, delivery = threading.Event(), self.sync.delivery
        thread = threading.Thread(target=delivery.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            delivery.wake()
            thread.join(ENDS_WITHIN)
            assert not thread.is_alive()

    @contextmanager
    def daemon_thread(self, **options: Any) -> Iterator[DaemonThread]:
        """The daemon in a thread, with options of `Daemon`; at the end it must have ended."""
        with running_thread(self.sync, **options) as thread:
            yield thread

    # What a person says

    def retry(self, *names: str) -> None:
        """`retry` of these contracts, or of all."""
        actions.retry(self.sync.state, names or None, utc_now())
        self.sync.delivery.wake()

    def make_contracts_due(self) -> None:
        """Ends what contracts wait for; what delivery waits for stays."""
        self.execute_in_state(
            "UPDATE contract SET next_attempt_at = '2020-01-01T00:00:00.000000Z'"
            " WHERE next_attempt_at IS NOT NULL"
        )

    # The state

    def state(self, statement: str) -> list[tuple[Any, ...]]:
        """Looks into a SQLite state, or prepares it."""
        with closing(sqlite3.connect(self.folder / "state.db")) as state, state:
            return state.execute(statement).fetchall()

    def execute_in_state(self, statement: str) -> None:
        """Changes the state of the sync that is open, on any database."""
        with self.sync.state.begin() as tx:
            tx.exec_driver_sql(statement)

    def contract(self, source_id: str = "1") -> dict[str, Any]:
        """What the state knows of a contract."""
        with self._borrowed() as sync, sync.state.read() as tx:
            found = contracts.find(tx, source_id)
        assert found is not None
        return found

    def column(self, name: str) -> list[Any]:
        """One column of every contract, in order of their ids."""
        with self._borrowed() as sync, sync.state.read() as tx:
            rows = tx.exec_driver_sql(f"SELECT {name} FROM contract ORDER BY source_id")
            return [row[0] for row in rows]

    def statuses(self) -> dict[str, int]:
        """How many contracts have which status, of those that there are."""
        with self._borrowed() as sync, sync.state.read() as tx:
            return {str(status): n for status, n in contracts.count_by_status(tx).items() if n}

    def is_synced(self, count: int) -> bool:
        """Whether so many contracts are synced; False while the state is away."""
        with suppress(StateUnavailable), self.sync.state.read() as tx:
            return contracts.count_by_status(tx)[Status.SYNCED] == count
        return False

    def stored(self, kind: type[V]) -> V | None:
        """The value of this type in the state's table `control`."""
        with self._borrowed() as sync, sync.state.read() as tx:
            return control.load(tx, kind)
