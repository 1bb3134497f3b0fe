"""`run` as a process: it delivers, answers the commands beside it, and ends when it is told."""

import signal
from pathlib import Path
from types import NoneType
from typing import Any

import pytest

from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until


@pytest.fixture
def bench(tmp_path: Path, sandbox: Sandbox) -> Bench:
    return Bench.with_contracts(tmp_path, sandbox, schedule={"poll": "1s"})


def insert(bench: Bench, *numbers: int) -> None:
    rows = ", ".join(f"({n}, 'Account {n}', '2024-01-01', NULL, 'Gold', {NOW})" for n in numbers)
    bench.source(f"INSERT INTO contracts VALUES {rows}")


def counts(bench: Bench) -> dict[str, int]:
    return dict(bench.state("SELECT status, count(*) FROM contract GROUP BY status"))


def first_run_done(bench: Bench) -> bool:
    return bench.state("SELECT 1 FROM sqlite_master WHERE name = 'contract'") != [] and counts(
        bench
    ) == {"synced": 3, "rejected": 1}


def test_it_is_ready_delivers_and_stops_when_systemd_says_so(bench: Bench, sandbox: Sandbox):
    with bench.daemon_process() as daemon:
        wait_until(lambda: len(sandbox.contracts()) == 3, "the first run is delivered")
        bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 2")
        wait_until(
            lambda: sandbox.contracts()["erp-2"]["description"] == "Silver", "a change is delivered"
        )
        insert(bench, 5)
        wait_until(lambda: "erp-5" in sandbox.contracts(), "a new contract is delivered")
        code = daemon.signal(signal.SIGTERM)

        assert code == 0
        assert daemon.tells("STOPPING=1")
        assert "Traceback" not in daemon.log()
    assert len(sandbox.puts()) == 5
    assert counts(bench) == {"synced": 4, "rejected": 1}


def test_sigterm_lets_the_puts_on_their_way_arrive_and_records_them(bench: Bench, sandbox: Sandbox):
    insert(bench, *range(10, 200))
    sandbox.strike("latency=100ms")
    with bench.daemon_process() as daemon:
        wait_until(lambda: len(sandbox.puts()) >= 5, "deliveries are under way")
        code = daemon.signal(signal.SIGTERM)

    assert code == 0
    recorded = bench.state("SELECT reference FROM contract WHERE acknowledged IS NOT NULL")
    assert {reference for (reference,) in recorded} == set(sandbox.contracts())
    assert bench.state("SELECT count(*) FROM contract WHERE in_doubt IS NOT NULL") == [(0,)]
    assert bench.state("SELECT count(*) FROM contract WHERE claimed_by IS NOT NULL") == [(0,)]
    assert bench.run("status", "--json").document["daemon"]["running"] is False


def test_a_daemon_that_is_killed_loses_nothing(bench: Bench, sandbox: Sandbox):
    insert(bench, *range(10, 200))
    sandbox.strike("latency=50ms")
    with bench.daemon_process() as daemon:
        wait_until(lambda: len(sandbox.puts()) >= 5, "deliveries are under way")
        bench.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW}")
        assert daemon.signal(signal.SIGKILL) == -signal.SIGKILL
    sandbox.strike()
    with bench.daemon_process() as daemon:
        wait_until(
            lambda: (
                counts(bench) == {"synced": 193, "rejected": 1}
                and {held["description"] for held in sandbox.contracts().values()} == {"Silver"}
            ),
            "all is delivered, with the latest payload",
            60,
        )
        assert daemon.signal(signal.SIGTERM) == 0

    assert len(sandbox.contracts()) == 193


def test_status_json_has_every_key_that_is_promised(bench: Bench):
    with bench.daemon_process() as daemon:
        wait_until(lambda: first_run_done(bench), "the first run is delivered")
        wait_until(
            lambda: bench.run("status", "--json").document["last_poll"] is not None,
            "the daemon says that it is there",
        )
        document = bench.run("status", "--json").document

        assert_shape(document, STATUS, "status")
        assert (document["daemon"]["pid"], document["daemon"]["running"]) == (daemon.pid, True)
        assert document["api"]["state"] == "ok"
        assert document["contracts"]["synced"] == document["balance"]["rows"] - 1 == 3
        assert document["totals"]["created"] == 3


def test_once_and_reconcile_beside_it_are_done_by_it_and_reported(bench: Bench, sandbox: Sandbox):
    with bench.daemon_process():
        wait_until(lambda: first_run_done(bench), "the first run is delivered")
        bench.source("DELETE FROM contracts WHERE id = 4")
        insert(bench, 5)
        once = bench.run("once", "--json")
        delivered = set(sandbox.contracts())
        bench.source("UPDATE contracts SET plan = 'Silver' WHERE id = 2")  # and no new stamp
        reconcile = bench.run("reconcile", "--json")
        limited = bench.run("once", "--limit", "1")

    assert set(once.document) == set(reconcile.document) == REPORT
    assert "erp-5" in delivered
    assert once.document["left"] == reconcile.document["left"] == 0
    assert (reconcile.document["updated"], reconcile.document["gone"]) == (1, 1)
    assert reconcile.code == 0
    assert sandbox.contracts()["erp-2"]["description"] == "Silver"
    assert limited.code == 2
    assert "leave --limit out" in limited.err


def test_pause_and_resume_take_effect_without_a_restart(bench: Bench, sandbox: Sandbox):
    with bench.daemon_process() as daemon:
        wait_until(lambda: first_run_done(bench), "the first run is delivered")
        assert bench.run("pause").code == 0
        insert(bench, 5)
        wait_until(lambda: counts(bench).get("pending") == 1, "the source is still read")
        beside = bench.run("once")
        puts_while_paused = len(sandbox.puts())
        status = bench.run("status")
        assert bench.run("resume").code == 0
        wait_until(lambda: "erp-5" in sandbox.contracts(), "delivery goes on")

        assert not daemon.ended()
    assert puts_while_paused == 3
    assert (beside.code, status.code) == (1, 1)
    assert "Nothing was sent, 1 waits." in beside.out
    assert "Delivery is paused by a person: cdc-sync resume" in beside.out
    assert "Delivery is paused by a person: cdc-sync resume" in status.out


def test_a_second_daemon_on_the_same_state_says_so_and_changes_nothing(
    bench: Bench, sandbox: Sandbox
):
    with bench.daemon_process() as daemon:
        wait_until(lambda: first_run_done(bench), "the first run is delivered")
        second = bench.run("run")

        assert not daemon.ended()
    assert second.code == 1
    assert second.err.startswith("cdc-sync: Another cdc-sync is at work on the state ")
    assert "Stop it" in second.err
    assert "Traceback" not in second.err
    assert len(sandbox.puts()) == 3


# What design promises of `status --json`: a tuple is a choice, a dict an object with these keys.
TIME, WHOLE, WORDS = str, int, (str, NoneType)
SECONDS = (int, float)
STATUSES = ("pending", "synced", "rejected", "accepted", "waiting", "held")
KINDS = ("created", "updated", "recreated", "adopted", "unchanged", "rejected", "retried", "late")
REPORT = {
    "rows", "created", "updated", "unchanged", "rejected", "accepted", "waiting", "held", "gone", "left", "error",
}  # fmt: skip
STATUS: dict[str, Any] = {
    "daemon": {
        "running": bool,
        "ended": WORDS,
        "pid": WHOLE,
        "since": TIME,
        "role": str,
        "error": WORDS,
    },
    "paused": bool,
    "watermark": {
        "value": TIME,
        "type": str,
        "horizon": WORDS,
        "basis": str,
        "basis_reason": WORDS,
        "basis_hint": WORDS,
        "read_to": TIME,
        "held_back_by": WORDS,
        "lag_seconds": SECONDS,
        "version": WHOLE,
    },
    "contracts": dict.fromkeys((*STATUSES, "gone"), WHOLE),
    "last_poll": {
        "started": TIME,
        "finished": TIME,
        "age_seconds": SECONDS,
        "rows": WHOLE,
        "changed": WHOLE,
        "error": WORDS,
    },
    "last_reconcile": (dict, NoneType),
    "late": (dict, NoneType),
    "last_delivery": {"at": TIME, "status": WHOLE},
    "balance": {"at": TIME, "rows": WHOLE, "unexplained": WHOLE, **dict.fromkeys(STATUSES, WHOLE)},
    "totals": dict.fromkeys(KINDS, WHOLE),
    "api": {
        "state": str,
        "reason": WORDS,
        "paused_until": WORDS,
        "slowed_to": (int, float, NoneType),
        "token_expires": WORDS,
    },
    "instances": list,
}


def assert_shape(value: Any, shape: Any, name: str) -> None:
    if not isinstance(shape, dict):
        assert isinstance(value, shape), (name, value)
        assert shape is not TIME or not name.endswith(("at", "since")) or value.endswith("Z")
        return
    assert isinstance(value, dict), (name, value)
    assert set(value) == set(shape), name
    for key, inner in shape.items():
        assert_shape(value[key], inner, f"{name}.{key}")
