"""A database that cdc-sync does not know, from `init` on: DuckDB, through its SQLAlchemy dialect."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from cdc_sync.capture.loop import Loops
from tests.support.bench import NEVER, Bench
from tests.support.commands import run_command
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until

HOUR = timedelta(hours=1)


@pytest.fixture
def duckdb(tmp_path: Path, sandbox: Sandbox) -> Iterator[Bench]:
    """A bench whose commands open the file for reading alone."""
    url = f"duckdb:///{tmp_path / 'erp.duckdb'}"
    with Bench.with_table(tmp_path, sandbox, url, source={"time_zone": "UTC"}) as bench:
        bench.rows.add({"id": 1}, {"id": 2})
        bench.configure(source={"url": f"{url}?access_mode=read_only"})
        yield bench


def test_init_and_check_say_what_follows(duckdb: Bench, sandbox: Sandbox):
    (duckdb.folder / "given").write_text("sandbox\n")
    init = [
        *("init", "--output", str(duckdb.folder / "made" / "config.yaml")),
        *("--source-url", f"{duckdb.rows_url}?access_mode=read_only"),
        *("--base-url", sandbox.url, "--token-url", f"{sandbox.url}/oauth2/token"),
        *("--client-id", "sandbox", "--client-secret-file", str(duckdb.folder / "given")),
    ]
    asked = run_command(init)
    assert asked.code == 2
    assert "--time-zone" in asked.err  # nobody can tell it

    made = run_command([*init, "--time-zone", "UTC"])
    assert made.code == 0, made.err
    assert "contracts" in made.out
    assert "index" not in made.out  # which its dialect does not read
    assert "cdc-sync does not know duckdb: it sees no open transactions there" in made.out
    assert "lookback of 5m in force" in made.out


def test_a_change_a_late_commit_and_a_delete_are_found(duckdb: Bench):
    plan = duckdb.run("plan")
    assert "2 to create" in plan.out, plan.err
    assert duckdb.run("once").code == 0
    assert set(duckdb.sandbox.contracts()) == {"erp-1", "erp-2"}

    duckdb.rows.change(1, plan="Silver")
    long_ago = datetime.now(UTC) - timedelta(minutes=20)
    duckdb.rows.add({"id": 3, "updated_at": long_ago})  # polls have passed its stamp
    once = duckdb.run("once")
    assert once.code == 0, once.err
    assert set(duckdb.sandbox.contracts()) == {"erp-1", "erp-2", "erp-3"}
    assert duckdb.sandbox.contracts()["erp-1"]["description"] == "Silver"

    duckdb.rows.remove(2)
    reconciled = duckdb.run("reconcile")
    assert reconciled.code == 0, reconciled.err
    assert duckdb.contract("2")["status"] == "gone"


def test_a_transaction_that_was_open_for_long_is_found_by_a_sweep(duckdb: Bench):
    duckdb.configure(source={"url": duckdb.rows_url})  # as the application opens it, in one process
    duckdb.poll()
    duckdb.deliver()
    stamp = datetime.now(UTC) - timedelta(minutes=5)
    with duckdb.rows.begin() as writer:
        row = {"id": 3, "account_name": "Late", "start_date": stamp.date(), "updated_at": stamp}
        writer.execute(duckdb.rows.table.insert(), row)
        assert duckdb.poll().created == 0
    assert duckdb.poll().created == 0

    found = Loops(duckdb.sync.capture).sweeps.sweep(HOUR, NEVER)

    assert (found.created, found.late) == (1, 1)


def test_the_daemon_leaves_the_file_to_others_between_its_polls(duckdb: Bench):
    duckdb.configure(schedule={"poll": "1s"})
    with duckdb.daemon_process():
        wait_until(lambda: len(duckdb.sandbox.contracts()) == 2, "both are sent")
        wait_until(lambda: _adds(duckdb, 3), "the application opens its file")
        wait_until(lambda: "erp-3" in duckdb.sandbox.contracts(), "the third is sent")


def _adds(bench: Bench, row_id: int) -> bool:
    try:
        bench.rows.add({"id": row_id})
    except DBAPIError:  # a scan has it open just now
        return False
    return True


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("hana://reader:hush@db.example.com/erp", "pip install sqlalchemy-hana"),
        ("duckdb+nothing:///erp.duckdb", "pip install duckdb-engine"),
    ],
)
def test_a_driver_that_is_missing_is_one_sentence_with_its_command(tmp_path: Path, url, says):
    with Bench(tmp_path, None, url) as bench:
        poll = bench.run("plan")

    assert poll.code == 1
    assert poll.err.count("\n") == 1
    assert says in poll.err
    assert "hush" not in poll.err
