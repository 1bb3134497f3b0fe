"""A daemon whose page is served on a free port, and a visitor of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page

from cdc_sync.log import RecentLog
from cdc_sync.operations.watermark import list_moves
from cdc_sync.sync import Sync
from tests.support.bench import Bench
from tests.support.browser import TOKEN, chromium, log_in, open_page
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.wait import wait_until

TIMEOUT = 20
#: What many viewers share is kept for a second or two, which every wait of a test would pay for.
#: test_snapshots.py has the real times.
SHORT_LIVED = {
    "cdc_sync.web.context.FRESH_SECONDS": 0.05,
    "cdc_sync.web.context.FRESH_AT_MOST": 0.05,
    "cdc_sync.web.context.RECENT_SECONDS": 0.2,
    "cdc_sync.web.overview.REGIONS_FRESH_SECONDS": 0.05,
    "cdc_sync.web.live.EVERY_SECONDS": 0.1,
}


@dataclass
class Visit:
    """A visitor: what it asks carries its cookies and headers."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, **how: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=TIMEOUT, allow_redirects=False, **how)

    def text(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(
        self, path: str, data: dict[str, str] | None = None, **headers: str
    ) -> requests.Response:
        """As a form of the page sends it; a header can be another, or left out by None."""
        return self.session.post(
            self.url + path,
            data=data or {},
            headers={"Origin": self.url} | headers,
            timeout=TIMEOUT,
            allow_redirects=False,
        )

    def log_in(self, token: str = TOKEN) -> requests.Response:
        return self.post("/login", {"token": token})


@dataclass
class DaemonWithPage:
    """A daemon that runs in this process, with its page."""

    url: str
    bench: Bench
    recent: RecentLog

    @property
    def sandbox(self) -> Sandbox:
        return self.bench.sandbox

    @property
    def sync(self) -> Sync:
        return self.bench.sync

    def visit(self, *, logged_in: bool = False) -> Visit:
        visit = Visit(self.url)
        if logged_in:
            assert visit.log_in().status_code == 303
        return visit

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = self.visit().get("/api/status").json()
        return document

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.status()["contracts"]
        return counts

    def moves(self) -> list[dict[str, Any]]:
        """The moves of the watermark by hand."""
        moves: list[dict[str, Any]] = list_moves(self.sync.state, 100)["moves"]
        return moves

    def await_poll(self) -> None:
        """Waits until a poll has told how far it is behind the source's clock."""
        wait_until(
            lambda: self.status()["watermark"]["lag_seconds"] is not None, "a poll has ended"
        )

    def await_counts(self, **expected: int) -> None:
        wait_until(
            lambda: {name: self.counts()[name] for name in expected} == expected, f"{expected}"
        )


@contextmanager
def running_page(bench: Bench) -> Iterator[DaemonWithPage]:
    """The daemon of a bench, once its page is served."""
    recent, urls = RecentLog(), SimpleQueue()
    with bench.open(), pytest.MonkeyPatch.context() as patch:
        for name, seconds in SHORT_LIVED.items():
            patch.setattr(name, seconds)
        with bench.daemon_thread(recent=recent, page_served=urls.put):
            yield DaemonWithPage(urls.get(timeout=TIMEOUT), bench, recent)


@pytest.fixture(scope="session")
def start():
    return running_page


def _bench_with_page(folder: Path, sandbox: Sandbox) -> Bench:
    web = {"listen": "127.0.0.1:0", "token": TOKEN}
    return Bench.with_contracts(folder, sandbox, schedule={"poll": "1s"}, web=web)


@contextmanager
def _delivered(bench: Bench) -> Iterator[DaemonWithPage]:
    with running_page(bench) as running:
        running.await_counts(synced=3, rejected=1)
        wait_until(lambda: running.status()["balance"], "the first run has ended")
        yield running


@pytest.fixture
def bench(tmp_path: Path, sandbox: Sandbox) -> Bench:
    """Three good contracts and one without account; the page has a token."""
    return _bench_with_page(tmp_path, sandbox)


@pytest.fixture
def daemon(bench: Bench) -> Iterator[DaemonWithPage]:
    """Its first run is delivered."""
    with _delivered(bench) as running:
        yield running


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonWithPage]:
    """The same for all tests of a module that change nothing."""
    with running_sandbox() as sandbox:
        bench = _bench_with_page(tmp_path_factory.mktemp("shared"), sandbox)
        with _delivered(bench) as running:
            running.await_poll()
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, daemon) -> Iterator[Page]:
    """Somebody who has logged in, on the overview."""
    with open_page(browser, daemon.url) as opened:
        log_in(opened)
        yield opened
