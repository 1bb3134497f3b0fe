"""A sync of a SQLite source with the sandbox, that a test adds to, runs as a daemon and looks at."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdc_sync.config.load import load_config
from cdc_sync.contract import Status
from cdc_sync.daemon.daemon import Daemon
from cdc_sync.errors import StateUnavailable
from cdc_sync.state import contracts
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.rows import Rows
from tests.support.sandbox import Sandbox


class There:
    """A SQLite source, a sandbox, and a configuration that a test may add to."""

    def __init__(self, folder: Path, rows: Rows, sandbox: Sandbox) -> None:
        self.folder = folder
        self.rows = rows
        self.sandbox = sandbox

    @contextmanager
    def open(self, **sections: dict[str, Any]) -> Iterator[Sync]:
        file = write_config(
            self.folder / "config.yaml", self.rows.url, self.sandbox.url, **sections
        )
        config = load_config(file, {})
        with open_sync(config, redaction_of(config)) as sync:
            yield sync


@contextmanager
def running(sync: Sync) -> Iterator[threading.Thread]:
    """The daemon in a thread; at the end it must have ended."""
    stop, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            Daemon(sync).run(stop)
        except BaseException as error:  # what ended it is looked at below
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.failed = failed  # type: ignore[attr-defined]
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def status_of(sync: Sync, source_id: str) -> str:
    with sync.state.read() as tx:
        found = contracts.find(tx, source_id)
    assert found is not None
    return str(found["status"])


def all_synced(sync: Sync, count: int) -> bool:
    try:
        with sync.state.read() as tx:
            return contracts.count_by_status(tx)[Status.SYNCED] == count
    except StateUnavailable:
        return False
