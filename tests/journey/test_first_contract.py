"""One row, a durable claim, a PUT over HTTP, and a kill -9 in the middle of it."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.configs import write_config
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until

ONCE = """
import os, sys, threading
from pathlib import Path
from cdc_sync.capture.poll import poll
from cdc_sync.config.load import load_config
from cdc_sync.sync import open_sync, redaction_of
config = load_config(Path(sys.argv[1]), os.environ)
with open_sync(config, redaction_of(config)) as sync:
    poll(sync.capture, threading.Event())
    sync.delivery.drain(threading.Event())
"""


@pytest.fixture
def config(tmp_path: Path, postgresql_url: str, sandbox: Sandbox) -> Path:
    address = postgresql_url.replace("+psycopg", "")
    with psycopg.connect(address) as source:
        source.execute(
            "CREATE TABLE contracts (id int PRIMARY KEY, account_name text, start_date date,"
            " end_date date, plan text, updated_at timestamptz DEFAULT now())"
        )
        source.execute(
            "INSERT INTO contracts VALUES (1, 'ACME', '2024-01-01', '2026-12-31', 'Gold')"
        )
    return write_config(tmp_path / "config.yaml", postgresql_url, sandbox.url)


def once(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", ONCE, str(config)])


def in_doubt(config: Path) -> bool:
    with sqlite3.connect(f"file:{config.parent / 'state.db'}?mode=ro", uri=True) as state:
        return state.execute("SELECT in_doubt FROM contract").fetchone()[0] is not None


def test_a_row_reaches_customergauge(config: Path, sandbox: Sandbox) -> None:
    assert once(config).wait(30) == 0

    assert sandbox.contracts() == {
        "erp-1": {
            "reference": "erp-1",
            "account": "ACME",
            "start": "2024-01-01",
            "end": "2026-12-31",
            "description": "Gold",
        }
    }
    assert not in_doubt(config)


def test_a_put_cut_by_kill_9_is_claimed_before_it_leaves_and_is_sent_again(
    config: Path, sandbox: Sandbox
) -> None:
    sandbox.strike("hang=30s times=1")
    killed = once(config)
    wait_until(lambda: sandbox.faults.listed()[0]["struck"], "the PUT is on its way")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(10)
    assert in_doubt(config)

    assert once(config).wait(30) == 0

    assert [put.reference for put in sandbox.puts()] == ["erp-1"]
