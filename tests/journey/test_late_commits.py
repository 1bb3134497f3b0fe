"""A row that commits late, with a stamp older than what was read since, is not lost.

Each way of knowing is tried in the same harness, and a naive watermark beside it: that one must
lose the row, or the test proves nothing.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cdc_sync.capture import poll as polling
from cdc_sync.capture.page import Capture
from cdc_sync.capture.poll import poll
from cdc_sync.config.load import load_config
from cdc_sync.state import tables as t
from cdc_sync.state import watermark
from cdc_sync.sync import open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.rows import LONG_AGO, Rows, rows_in
from tests.support.servers import mariadb_database, reader_of

NOWHERE = "http://127.0.0.1:9"
STOP = threading.Event()
HALF_A_SECOND = timedelta(seconds=0.5)


@contextmanager
def capturing(folder: Path, url: str, *, margin: timedelta, **source: Any) -> Iterator[Capture]:
    config = load_config(
        write_config(folder / "config.yaml", url, NOWHERE, source=source), os.environ
    )
    # Below what a configuration may say, so that no test has to wait for it.
    config.source.__dict__["clock_margin"] = margin
    with open_sync(config, redaction_of(config)) as sync:
        yield sync.capture


def known(capture: Capture) -> set[str]:
    with capture.state.read() as tx:
        return {row.source_id for row in tx.execute(sa.select(t.contract.c.source_id))}


def stands(capture: Capture) -> Any:
    with capture.state.read() as tx:
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


def late_commit_on_postgresql(pg: Rows, capture: Capture, *, prepare: bool = False) -> None:
    """Row 2 is stamped first and committed last; row 3 is read in between, twice."""
    poll(capture, STOP)
    with psycopg.connect(pg.url.replace("+psycopg", "")) as late:
        late.execute(INSERT.format(id=2, now="now()"))
        pg.execute(INSERT.format(id=3, now="clock_timestamp() + interval '2 seconds'"))
        poll(capture, STOP)
        if prepare:
            late.execute("PREPARE TRANSACTION 'late'")
        poll(capture, STOP)
        assert known(capture) == {"1", "3"}
        if prepare:
            late.autocommit = True
            late.execute("COMMIT PREPARED 'late'")
    poll(capture, STOP)


@pytest.mark.parametrize("prepare", [False, True], ids=["open", "prepared"])
@pytest.mark.parametrize("long", ["0s", "1h"])
def test_with_the_privilege(pg, tmp_path, prepare, long):
    url = reader_of(pg.url, privileged=True)
    with capturing(
        tmp_path, url, margin=HALF_A_SECOND, lookback="1s", long_transaction=long
    ) as capture:
        late_commit_on_postgresql(pg, capture, prepare=prepare)
        assert known(capture) == {"1", "2", "3"}


def test_without_the_privilege_within_the_lookback(pg, tmp_path):
    url = reader_of(pg.url, privileged=False)
    with capturing(tmp_path, url, margin=HALF_A_SECOND, lookback="1m") as capture:
        late_commit_on_postgresql(pg, capture)
        assert known(capture) == {"1", "2", "3"}


def naive(monkeypatch: pytest.MonkeyPatch) -> None:
    def greatest_seen(current: Any, page_end: Any, _horizon: Any, *, last: bool) -> Any:
        return current if page_end is None or (last and current > page_end) else page_end

    monkeypatch.setattr(polling, "next_watermark", greatest_seen)
    monkeypatch.setattr(polling, "_start", lambda _capture, known, _horizon: known.value)


@pytest.mark.parametrize("prepare", [False, True], ids=["open", "prepared"])
def test_a_naive_watermark_loses_the_row(pg, tmp_path, monkeypatch, prepare):
    naive(monkeypatch)
    with capturing(tmp_path, pg.url, margin=HALF_A_SECOND) as capture:
        late_commit_on_postgresql(pg, capture, prepare=prepare)
        assert known(capture) == {"1", "3"}


def late_commit_on_mariadb(tmp_path: Path) -> set[str]:
    with mariadb_database() as url, rows_in(url) as rows:
        rows.add({"id": 1, "updated_at": LONG_AGO})
        margin = timedelta(seconds=4)
        with capturing(
            tmp_path, url, margin=margin, lookback="1s", long_transaction="0s"
        ) as capture:
            poll(capture, STOP)
            engine = sa.create_engine(url)
            with engine.connect() as late:
                # Polls start at whole seconds, so one that has just passed would not do.
                late.exec_driver_sql(INSERT.format(id=2, now="now(6) - interval 2 second"))
                rows.execute(INSERT.format(id=3, now="sysdate(6)"))
                poll(capture, STOP)
                poll(capture, STOP)
                assert known(capture) == {"1", "3"}
                late.commit()
            engine.dispose()
            poll(capture, STOP)
            return known(capture)


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
        with capturing(tmp_path, rows.url, margin=HALF_A_SECOND, lookback="1m") as capture:
            poll(capture, STOP)
            rows.add({"id": 3})  # before the other process keeps the source's one writer
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as late:
                assert late.stdout is not None
                assert late.stdout.readline() == "stamped\n"
                poll(capture, STOP)
                assert known(capture) == {"1", "3"}
                late.communicate("commit\n", timeout=30)
            poll(capture, STOP)
            return known(capture)


def test_on_sqlite_with_a_second_process_within_the_lookback(tmp_path):
    assert late_commit_on_sqlite(tmp_path) == {"1", "2", "3"}


def test_on_sqlite_a_naive_watermark_loses_the_row(tmp_path, monkeypatch):
    naive(monkeypatch)
    assert late_commit_on_sqlite(tmp_path) == {"1", "3"}


def test_while_a_long_transaction_is_open_nothing_is_read_twice(pg, tmp_path):
    url = reader_of(pg.url, privileged=True)
    with capturing(tmp_path, url, margin=HALF_A_SECOND, long_transaction="0s") as capture:
        poll(capture, STOP)
        with psycopg.connect(pg.url.replace("+psycopg", "")) as late:
            began = late.execute("SELECT now()").fetchone()[0]
            late.execute(INSERT.format(id=2, now="now()"))
            pg.add(*({"id": number, "updated_at": began} for number in range(10, 310)))
            assert poll(capture, STOP).rows >= 300
            polls = 0
            while poll(capture, STOP).rows >= 300:  # until the margin has passed
                polls += 1
                assert polls < 100
                assert not STOP.wait(0.1)
            assert stands(capture) < began
            assert poll(capture, STOP).rows < 300
        assert poll(capture, STOP).rows > 300  # once, to see what it committed
        assert "2" in known(capture)
