"""`once` and `reconcile`: one run, and what it reports."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import sqlalchemy as sa

from tests.support.bench import NOW, Bench
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.wait import wait_until


def test_an_id_of_another_type_makes_other_contracts(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    code = [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(20)),
    ]
    sections = {"source": {"id": "code"}, "mapping": {"reference": "erp-{id}"}}
    bench = Bench(tmp_path, sandbox, postgresql_url, **sections)
    with rows_in(postgresql_url, *code) as rows:
        rows.add({"id": 1, "code": "A1"}, {"id": 2, "code": "B2"})
        first = bench.run("once", "--json").document
        sections = {"source": {"id": "id"}, "mapping": {"reference": "new-{id}"}}
        bench.configure(**sections)
        second = bench.run("once", "--json").document

    assert (first["created"], second["created"], second["gone"]) == (2, 2, 2)
    assert (second["error"], second["rejected"]) == (None, 0)


def test_a_once_beside_another_waits_for_its_end(synced: Bench, sandbox: Sandbox) -> None:
    sandbox.strike("latency=1500ms")
    synced.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1")
    first = threading.Thread(target=synced.run, args=("once",))
    before = len(sandbox.puts())
    first.start()
    wait_until(lambda: sandbox.faults.listed()[0]["struck"] > 0, "its PUT has left")
    second = synced.run("once", "--json")
    first.join(20)

    assert second.document["error"] is None
    assert second.document["left"] == 0
    assert len(sandbox.puts()) == before + 1


def test_a_source_that_is_away_is_reported_as_json_too(synced: Bench) -> None:
    (synced.folder / "source.db").unlink()
    ran = synced.run("once", "--json")

    assert ran.code == 1
    assert "does not exist" in ran.document["error"]
    assert "does not exist" in ran.err


def test_what_nobody_can_reach_is_the_reason_why_contracts_wait(
    fresh: Bench, sandbox: Sandbox
) -> None:
    sandbox.strike("status=503")
    said = fresh.run("once").out

    assert "3 wait.\nWhy: 503" in said
    assert "See: cdc-sync contracts list --status pending" in said


def test_how_long_it_will_take_comes_first_and_ctrl_c_says_that_it_was_interrupted(
    fresh: Bench,
) -> None:
    fresh.configure(customergauge={"rate_limit": "0.04/s"})
    command = [sys.executable, "-m", "cdc_sync", "--config", str(fresh.config), "once"]
    plan = fresh.run("plan").out
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)

    assert "3 PUTs take about 75 s at 0.04/s.\n" in plan
    assert first == "3 PUTs take about 75 s at 0.04/s.\n"
    assert out.startswith("Interrupted: ")
    assert "wait. Nothing is lost; the next run goes on from there.\n" in out
    assert process.returncode == 1


def test_missing_accounts_are_counted_and_named_with_the_ways_on(tmp_path: Path) -> None:
    with running_sandbox(strict_accounts=True) as strict:
        bench = Bench.with_contracts(tmp_path, strict, customergauge={"base_url": strict.url})
        values = ", ".join(f"({n}, 'Firm {n % 5}', '2026-01-01', {NOW})" for n in range(100, 140))
        bench.source(
            "DELETE FROM contracts",
            "INSERT INTO contracts (id, account_name, start_date, updated_at) VALUES " + values,
        )
        ran = bench.run("once")
        status = bench.run("status").out

    says = (
        "40 contracts wait for 5 accounts that CustomerGauge lacks: Firm 0, Firm 1, Firm 2 and 2 more."
        " Create them there, and then: cdc-sync retry --all; or set"
        " `customergauge.create_missing_accounts`."
    )
    assert says in ran.out
    assert f"NOT WELL: {says}" in status
    assert ran.code == 1


def test_a_first_few_are_sent_with_their_accounts(tmp_path: Path) -> None:
    with running_sandbox(strict_accounts=True) as strict:
        keys = {"create_missing_accounts": True}
        bench = Bench.with_contracts(
            tmp_path, strict, customergauge={"base_url": strict.url, **keys}
        )
        first = bench.run("once", "--limit", "2", "--json").document
        rest = bench.run("once", "--json").document

    assert (first["created"], first["left"] + first["waiting"]) == (2, 1)
    assert (rest["created"], rest["waiting"]) == (1, 0)
