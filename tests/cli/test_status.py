"""`status`: what is said of a sync, and what it is told to do about it."""

import threading
from pathlib import Path

import pytest

from cdc_sync.capture.poll import poll
from cdc_sync.clock import utc_now
from cdc_sync.operations import actions
from cdc_sync.rules.verdict import ApiState
from tests.support.bench import Bench
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until


def test_soft_deleted_rows_are_not_in_the_balance(tmp_path: Path, sandbox: Sandbox) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, source={"deleted_when": "plan = 'Gone'"})
    bench.source("UPDATE contracts SET plan = 'Gone' WHERE id = 3")
    bench.run("once")
    balance = bench.run("status", "--json").document["balance"]

    parts = ("pending", "synced", "rejected", "waiting", "held")
    assert balance["rows"] == sum(balance[name] for name in parts) == 3
    assert balance["unexplained"] == 0


def test_every_full_scan_is_the_last_reconcile(fresh: Bench) -> None:
    fresh.run("once")
    first = fresh.run("status", "--json").document["last_reconcile"]
    text = fresh.config.read_text()
    fresh.config.write_text(text.replace('"{plan}"', '"{plan} plan"'))
    fresh.run("once")
    second = fresh.run("status", "--json").document["last_reconcile"]

    assert (first["rows"], first["error"]) == (4, None)
    assert second["started"] > first["started"]


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "Check `customergauge.client_id`"), (403, "let this client PUT")]
)
def test_a_refused_client_is_reported_with_its_hint(
    fresh: Bench, sandbox: Sandbox, status: int, hint: str
) -> None:
    sandbox.strike(f"status={status}")
    fresh.sync_once()

    assert hint in fresh.run("status").out


def deliver_until_throttled(bench: Bench) -> None:
    """One process delivers until it waits for a 429 itself, and has written that down."""
    stop = threading.Event()
    with bench.open() as sync:
        poll(sync.capture, stop)
        delivery = threading.Thread(target=sync.delivery.run, args=(stop,))
        delivery.start()
        try:
            wait_until(
                lambda: (
                    sync.delivery.gate.state is ApiState.THROTTLED
                    and actions.throttled_until(sync.state, utc_now())
                ),
                "everybody waits",
            )
        finally:
            stop.set()
            delivery.join(20)


def test_resume_does_not_promise_what_a_429_forbids(fresh: Bench, sandbox: Sandbox) -> None:
    sandbox.strike("status=429 retry_after=600 times=1")
    deliver_until_throttled(fresh)

    said = fresh.run("resume").out
    assert "CustomerGauge asks everybody to wait until" in said
    assert "at once" not in said


def test_a_wait_for_a_429_is_shown_also_after_a_restart(fresh: Bench, sandbox: Sandbox) -> None:
    sandbox.strike("status=429 retry_after=600 times=1")
    for _ in range(2):  # each as a new process
        deliver_until_throttled(fresh)

    assert "asks everybody to wait (429), until" in fresh.run("status").out
