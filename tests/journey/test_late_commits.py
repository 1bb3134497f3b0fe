"""A row that commits late, with a stamp older than what was read since, is not lost.

Each way of knowing is tried in the same harness, and a naive watermark beside it: that one must
lose the row, or the test proves nothing.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cdc_sync.capture import poll as polling
from cdc_sync.state import watermark
from tests.support.bench import Bench
from tests.support.rows import LONG_AGO, Rows, rows_in
from tests.support.servers import mariadb_database, reader_of
from tests.support.wait import wait_until

HALF_A_SECOND = timedelta(seconds=0.5)


@contextmanager
def capturing(folder: Path, url: str, *, margin: timedelta, **source: Any) -> Iterator[Bench]:
    with Bench(folder, None, url, source=source) as bench:
        # Below what a configuration may say, so that no test has to wait for it.
        bench.sync.capture.config.source.__dict__["clock_margin"] = margin
        yield bench


def known(bench: Bench) -> set[str]:
    return set(bench.column("source_id"))


def watermark_of(bench: Bench) -> Any:
    with bench.sync.state.read() as tx:
        return watermark.read(tx).value


@pytest.fixture
def pg(postgresql_url: str) -> Iterator[Rows]:
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1, "updated_at": LONG_AGO})
        yield rows


INSERT = (
    "INSERT INTO contracts (id, account_name, start_date, updated_at)"
    " VALUES ({id}, 'Late', '2026-01-01', {now})"
)


def late_commit_on_postgresql(pg: Rows, bench: Bench, *, prepare: bool = False) -> None:
    """Row 2 is stamped first and committed last; row 3 is read in between, twice."""
    bench.poll()
    with psycopg.connect(pg.url.replace("+psycopg", "")) as late:
        late.execute(INSERT.format(id=2, now="now()"))
        pg.execute(INSERT.format(id=3, now="clock_timestamp() + interval '2 seconds'"))
        bench.poll()
        if prepare:
            late.execute("PREPARE TRANSACTION 'late'")
        bench.poll()
        assert known(bench) == {"1", "3"}
        if prepare:
            late.autocommit = True
            late.execute("COMMIT PREPARED 'late'")
    bench.poll()


@pytest.mark.parametrize("prepare", [False, True], ids=["open", "prepared"])
@pytest.mark.parametrize("long", ["0s", "1h"])
def test_with_the_privilege(pg, tmp_path, prepare, long):
    url = reader_of(pg.url, privileged=True)
    with capturing(
        tmp_path, url, margin=HALF_A_SECOND, lookback="1s", long_transaction=long
    ) as bench:
        late_commit_on_postgresql(pg, bench, prepare=prepare)
        assert known(bench) == {"1", "2", "3"}


def test_without_the_privilege_within_the_lookback(pg, tmp_path):
    url = reader_of(pg.url, privileged=False)
    with capturing(tmp_path, url, margin=HALF_A_SECOND, lookback="1m") as bench:
        late_commit_on_postgresql(pg, bench)
        assert known(bench) == {"1", "2", "3"}


def naive(monkeypatch: pytest.MonkeyPatch) -> None:
    def greatest_seen(current: Any, page_end: Any, _horizon: Any, *, last: bool) -> Any:
        return current if page_end is None or (last and current > page_end) else page_end

    monkeypatch.setattr(polling, "next_watermark", greatest_seen)
    monkeypatch.setattr(polling, "restart_from", lambda *_: None)  # another guard
    monkeypatch.setattr(polling, "_start", lambda _capture, known, _horizon: known.value)


@pytest.mark.parametrize("prepare", [False, True], ids=["open", "prepared"])
def test_a_naive_watermark_loses_the_row(pg, tmp_path, monkeypatch, prepare):
    naive(monkeypatch)
    with capturing(tmp_path, pg.url, margin=HALF_A_SECOND) as bench:
        late_commit_on_postgresql(pg, bench, prepare=prepare)
        assert known(bench) == {"1", "3"}


def late_commit_on_mariadb(tmp_path: Path) -> set[str]:
    with mariadb_database() as url, rows_in(url) as rows:
        rows.add({"id": 1, "updated_at": LONG_AGO})
        margin = timedelta(seconds=4)
        with capturing(tmp_path, url, margin=margin, lookback="1s", long_transaction="0s") as bench:
            bench.poll()
            engine = sa.create_engine(url)
            with engine.connect() as late:
                # Polls start at whole seconds, so one that has just passed would not do.
                late.exec_driver_sql(INSERT.format(id=2, now="now(6) - interval 2 second"))
                rows.execute(INSERT.format(id=3, now="sysdate(6)"))
                bench.poll()
                bench.poll()
                assert known(bench) == {"1", "3"}
                late.commit()
            engine.dispose()
            bench.poll()
            return known(bench)


@pytest.mark.usefixtures("mariadb")
def test_on_mariadb(tmp_path):
    assert late_commit_on_mariadb(tmp_path) == {"1", "2", "3"}


@pytest.mark.usefixtures("mariadb")
def test_on_mariadb_a_naive_watermark_loses_the_row(tmp_path, monkeypatch):
    naive(monkeypatch)
    assert late_commit_on_mariadb(tmp_path) == {"1", "3"}


LATE_PROCESS = """
import sqlite3, sys
source = sqlite3.connect(sys.argv[1], isolation_level=None)
source.execute("BEGIN IMMEDIATE")
source.execute("INSERT INTO contracts (id, account_name, start_date, updated_at)"
               " VALUES (2, 'Late', '2026-01-01', strftime('%Y-%m-%d %H:%M:%f', 'now', '-5 seconds'))")
print("stamped", flush=True)
sys.stdin.readline()
source.execute("COMMIT")
"""


def late_commit_on_sqlite(tmp_path: Path) -> set[str]:
    file = tmp_path / "source.db"
    file.touch()
    with rows_in(f"sqlite:///{file}") as rows:
        rows.execute("PRAGMA journal_mode = WAL")
        rows.add({"id": 1, "updated_at": LONG_AGO})
        command = [sys.executable, "-c", LATE_PROCESS, str(file)]
        with capturing(tmp_path, rows.url, margin=HALF_A_SECOND, lookback="1m") as bench:
            bench.poll()
            rows.add({"id": 3})  # before the other process keeps the source's one writer
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as late:
                assert late.stdout is not None
                assert late.stdout.readline() == "stamped\n"
                bench.poll()
                assert known(bench) == {"1", "3"}
                late.communicate("commit\n", timeout=30)
            bench.poll()
            return known(bench)


def test_on_sqlite_with_a_second_process_within_the_lookback(tmp_path):
    assert late_commit_on_sqlite(tmp_path) == {"1", "2", "3"}


def test_on_sqlite_a_naive_watermark_loses_the_row(tmp_path, monkeypatch):
    naive(monkeypatch)
    assert late_commit_on_sqlite(tmp_path) == {"1", "3"}


def test_while_a_long_transaction_is_open_nothing_is_read_twice(pg, tmp_path):
    url = reader_of(pg.url, privileged=True)
    with capturing(tmp_path, url, margin=HALF_A_SECOND, long_transaction="0s") as bench:
        bench.poll()
        with psycopg.connect(pg.url.replace("+psycopg", "")) as late:
            began = late.execute("SELECT now()").fetchone()[0]
            late.execute(INSERT.format(id=2, now="now()"))
            pg.add(*({"id": number, "updated_at": began} for number in range(10, 310)))
            assert bench.poll().rows >= 300
            wait_until(lambda: bench.poll().rows < 300, "the margin has passed")
            assert watermark_of(bench) < began
            assert bench.poll().rows < 300
        assert bench.poll().rows > 300  # once, to see what it committed
        assert "2" in known(bench)
