"""`status`: what is said of a sync, and what it is told to do about it."""

import os
import re
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc_sync.capture.poll import poll
from cdc_sync.clock import utc_now
from cdc_sync.operations import actions
from cdc_sync.operations.status import find_troubles, read_status
from cdc_sync.rules.verdict import ApiState
from cdc_sync.setup.host import Host
from cdc_sync.setup.service import installed_unit
from cdc_sync.state import control
from cdc_sync.state.values import Presence, ReconcileReport
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
    fresh.configure(customergauge={"rate_limit": "20/s"})
    sandbox.strike("status=429 retry_after=600 times=1")
    for _ in range(2):  # each as a new process
        deliver_until_throttled(fresh)

    assert "asks everybody to wait (429), until" in fresh.run("status").out
    assert "15.52 PUT/s since a 429; it rises again by itself" in fresh.run("status").out
    assert fresh.run("status", "--json").document["api"]["slowed_to"] == 15.52


def test_a_daemon_that_was_stopped_is_missed_once_polls_are_late(bench: Bench) -> None:
    bench.configure(schedule={"poll": "1s"})
    with bench.daemon_process() as daemon:
        wait_until(lambda: "last poll" in bench.run("status").out, "it polls")
        assert daemon.signal(signal.SIGTERM) == 0
    stopped = bench.run("status")
    assert (stopped.code, stopped.out.splitlines()[0]) == (0, "WELL; no daemon runs.")
    assert "\n  daemon        none runs since 20" in stopped.out
    assert bench.run("status", "--json").document["daemon"]["ended"].endswith("Z")

    bench.state('UPDATE control SET value = replace(value, \'"good_at":"20\', \'"good_at":"19\')')
    late = bench.run("status")
    assert late.code == 1
    assert late.out.startswith("NOT WELL: No daemon runs since 20")
    assert "and the last good poll was " in late.out.splitlines()[0]
    assert late.out.splitlines()[0].endswith("Start it: cdc-sync run")


def test_a_daemon_that_failed_at_its_start_is_missed_with_its_error(bench: Bench) -> None:
    bench.configure(customergauge={"client_secret": "${NOT_SET}"})
    assert bench.run("run").code == 2

    ran = bench.run("status")
    assert ran.code == 1
    assert ran.out.startswith("NOT WELL: No daemon runs since ")
    assert "It ended by an error: " in ran.out
    assert "NOT_SET" in ran.out


def test_a_daemon_that_is_killed_is_missed(bench: Bench) -> None:
    with bench.daemon_process() as daemon:
        wait_until(lambda: bench.run("status").out.startswith("WELL.\n"), "it runs")
        daemon.signal(signal.SIGKILL)
    ran = bench.run("status")

    assert (ran.code, ran.out.startswith("NOT WELL: No daemon runs since ")) == (1, True)


def test_a_unit_that_is_installed_is_missed_when_it_does_not_run(
    synced: Bench, tmp_path: Path
) -> None:
    image = Host(tmp_path / "image")
    folder = tmp_path / "image/etc/systemd/system"
    folder.mkdir(parents=True)
    (folder / "cdc-sync@.service").touch()
    unit = installed_unit(Path("/etc/cdc-sync/crm.yaml"), image)
    assert unit == "cdc-sync@crm"
    assert installed_unit(Path("/etc/cdc-sync/config.yaml"), image) is None
    assert installed_unit(synced.config, image) is None

    document = read_status(synced.sync.state, utc_now())
    messages = {one.key: one.message for one in find_troubles(document, synced.sync.config, unit)}
    assert messages["daemon"].startswith("No daemon runs")
    assert "systemctl start cdc-sync@crm; its log: journalctl -u cdc-sync@crm" in messages["daemon"]


@pytest.mark.parametrize("schedule", ["6h", "0 */6 * * *"])
@pytest.mark.parametrize(
    ("began", "daemon_began", "is_told"),
    [(13, 48, True), (13, 5, False), (5, 48, False), (-3, 48, True), (-3, 1, False)],
)
def test_a_reconcile_that_does_not_come_is_not_well(
    bench: Bench, schedule: str, began: int, daemon_began: int, is_told: bool
) -> None:
    """As after a clock that was set ahead and back: its next time is far away."""
    bench.configure(schedule={"reconcile": schedule})
    now = datetime(2026, 11, 24, 13, tzinfo=UTC)
    with bench.open() as sync:
        started, since = (now - timedelta(hours=hours) for hours in (began, daemon_began))
        with sync.state.begin() as tx:
            control.save(tx, Presence(os.getpid(), "here", since, now, role="active"))
            control.save(tx, ReconcileReport(started, started))
        troubles = find_troubles(read_status(sync.state, now), sync.config)
        told = [trouble.message for trouble in troubles if trouble.key == "reconcile"]

    assert bool(told) is is_told
    assert all("cdc-sync reconcile" in message for message in told)


def test_the_lag_grows_while_the_source_is_away(bench: Bench) -> None:
    bench.configure(schedule={"poll": "1s"})
    bench.rows.add({"id": 1})
    source = bench.folder / "source.db"
    with bench.daemon_process():
        wait_until(
            lambda: bench.run("status", "--json").document["watermark"]["lag_seconds"],
            "a poll has ended well",
        )
        lag_before = bench.run("status", "--json").document["watermark"]["lag_seconds"]
        source.rename(source.with_suffix(".away"))
        wait_until(lambda: "FAILED" in bench.run("status").out, "a poll has failed")
        ran = bench.run("status")
        lag = bench.run("status", "--json").document["watermark"]["lag_seconds"]
        wait_until(
            lambda: bench.run("status", "--json").document["watermark"]["lag_seconds"] > lag,
            "the lag grows",
        )

    assert ran.code == 1
    assert re.search(r"  last poll +\d+ s ago: FAILED; the last good one \d+ s ago\n", ran.out)
    assert lag > lag_before
