"""One row, a durable claim, a PUT over HTTP, and a kill -9 in the middle of it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.support.bench import Bench
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until


@pytest.fixture
def one_row(tmp_path: Path, postgresql_url: str, sandbox: Sandbox) -> Iterator[Bench]:
    with Bench.with_table(tmp_path, sandbox, postgresql_url) as bench:
        bench.rows.add({"id": 1, "account_name": "ACME", "end_date": date(2026, 12, 31)})
        yield bench


def is_in_doubt(bench: Bench) -> bool:
    return bench.state("SELECT in_doubt FROM contract") != [(None,)]


def test_a_row_reaches_customergauge(one_row: Bench) -> None:
    assert one_row.run("once").code == 0

    assert one_row.sandbox.contracts() == {
        "erp-1": {
            "reference": "erp-1",
            "account": "ACME",
            "start": "2024-01-01",
            "end": "2026-12-31",
            "description": "Gold",
        }
    }
    assert not is_in_doubt(one_row)


def test_a_put_cut_by_kill_9_is_claimed_before_it_leaves_and_is_sent_again(one_row: Bench) -> None:
    one_row.sandbox.strike("hang=30s times=1")
    command = [sys.executable, "-m", "cdc_sync", "--config", str(one_row.config), "once"]
    with subprocess.Popen(command) as killed:
        wait_until(lambda: one_row.sandbox.faults.listed()[0]["struck"], "the PUT is on its way")
        killed.send_signal(signal.SIGKILL)
    assert is_in_doubt(one_row)

    assert one_row.run("once").code == 0

    assert [put.reference for put in one_row.sandbox.puts()] == ["erp-1"]
