"""A SQLite source, a sandbox that fails on demand, and the delivery between them."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.capture.poll import poll
from cdc_sync.config.load import load_config
from cdc_sync.operations import actions
from cdc_sync.state import contracts, control
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox, running_sandbox

STILL = threading.Event()


class Site:
    """What a test does with one sync, and looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.rows = self.stack.enter_context(rows_in(f"sqlite:///{folder / 'source.db'}"))
        self.sandbox: Sandbox
        self.sync: Sync

    def open(self, sandbox: dict[str, Any] | None = None, below: str = "", **keys: Any) -> "Site":
        """Opens the sync: options of the sandbox, a path in `base_url`, keys of `customergauge`."""
        self.sandbox = self.stack.enter_context(running_sandbox(**(sandbox or {})))
        self._config = write_config(
            self.folder / "config.yaml",
            self.rows.url,
            self.sandbox.url,
            customergauge={"base_url": self.sandbox.url + below, **keys},
        )
        self._begin()
        return self

    def reopen(self) -> None:
        """As a new process would find it."""
        self._opened.close()
        self._begin()

    def add(self, count: int) -> None:
        self.rows.add(*({"id": n} for n in range(1, count + 1)))
        self.capture()

    def change(self, row_id: int, **values: Any) -> None:
        self.rows.change(row_id, **values)
        self.capture()

    def capture(self) -> None:
        poll(self.sync.capture, STILL)

    def deliver(self) -> None:
        self.sync.delivery.drain(STILL)

    def retry(self, *names: str) -> None:
        actions.retry(self.sync.state, names or None, datetime.now(UTC))
        self.sync.delivery.wake()

    def due_now(self) -> None:
        """Lets the waits of contracts be over; delivery's own waits stay."""
        with self.sync.state.begin() as tx:
            tx.exec_driver_sql("UPDATE contract SET next_attempt_at = '2020-01-01T00:00:00.000000Z' WHERE next_attempt_at IS NOT NULL")  # fmt: skip

    def execute(self, statement: str) -> None:
        with self.sync.state.begin() as tx:
            tx.exec_driver_sql(statement)

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Delivery as the daemon runs it, beside the test."""
        stop = threading.Event()
        thread = threading.Thread(target=self.sync.delivery.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            self.sync.delivery.wake()
            thread.join(20)
            assert not thread.is_alive()

    def contract(self, source_id: str = "1") -> dict[str, Any]:
        with self.sync.state.read() as tx:
            found = contracts.find(tx, source_id)
        assert found is not None
        return found

    def statuses(self) -> dict[str, int]:
        with self.sync.state.read() as tx:
            return {str(status): n for status, n in contracts.count_by_status(tx).items() if n}

    def column(self, name: str) -> list[Any]:
        with self.sync.state.read() as tx:
            rows = tx.exec_driver_sql(f"SELECT {name} FROM contract ORDER BY source_id")
            return [row[0] for row in rows]

    def stored(self, kind: Any) -> Any:
        with self.sync.state.read() as tx:
            return control.load(tx, kind)

    def answers(self) -> Counter[int | None]:
        return Counter(entry.status for entry in self.sandbox.ledger.entries())

    def _begin(self) -> None:
        config = load_config(self._config, os.environ)
        self._opened = self.stack.enter_context(ExitStack())
        self.sync = self._opened.enter_context(open_sync(config, redaction_of(config)))


@pytest.fixture
def passing_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a clock that is moved count as time that passes, and not as one that is set."""
    monkeypatch.setattr("cdc_sync.delivery.loop.steady_clock", lambda now: now)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    with made.stack:
        yield made
