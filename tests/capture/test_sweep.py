"""Sweeps find what came too late for polls, whatever the cause, and nothing else."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from cdc_sync.capture.loop import Loops
from cdc_sync.capture.page import FULL_SCAN_RANK, POLL_RANK, PageLock
from cdc_sync.operations.status import read_status
from cdc_sync.source.dialects.base import Dialect
from cdc_sync.state import control, watermark
from cdc_sync.state.values import Sweeps
from tests.support.bench import NEVER, Bench
from tests.support.rows import LONG_AGO, Rows
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# What does not depend on the database.
any_source = pytest.mark.parametrize("source_url", ["sqlite"], indirect=True)


@pytest.fixture
def room(tmp_path: Path, sandbox: Sandbox, source_url: str) -> Iterator[Bench]:
    """A bench on each database, whose polls have read one old row."""
    source = {"clock_margin": "2s", "lookback": "2s"}
    with Bench.with_table(tmp_path, sandbox, source_url, source=source) as bench:
        bench.rows.add({"id": 1, "updated_at": LONG_AGO})
        bench.poll()
        bench.poll()
        bench.deliver()
        yield bench


def late_rows(bench: Bench, minutes: float, *numbers: int) -> None:
    """Rows that become visible now, and were stamped some minutes ago."""
    stamp = datetime.now(UTC) - timedelta(minutes=minutes)
    bench.rows.add(*({"id": number, "updated_at": stamp} for number in numbers))


def sweep(bench: Bench, window: timedelta = HOUR) -> Any:
    run = Loops(bench.sync.capture).sweeps.sweep(window, NEVER)
    bench.deliver()
    return run


def test_rows_under_an_old_stamp_are_found_by_the_next_sweep(room: Bench):
    late_rows(room, 47, *range(10, 20))
    assert room.poll().changed == 0  # polls have passed them
    with room.sync.state.read() as tx:
        before = watermark.read(tx)

    run = sweep(room)
    assert (run.created, run.late) == (10, 10)
    assert len(room.sandbox.contracts()) == 11
    with room.sync.state.read() as tx:
        assert watermark.read(tx) == before
    assert sweep(room).changed == 0
    assert room.new_puts() == 11  # each once

    status = room.run("status").out
    assert "10 changes came up to 47 min behind their stamps; polls did not see them" in status
    assert "all of them bear one stamp, as after a batch job" in status


def test_what_is_older_than_the_window_waits_for_a_longer_one(room: Bench):
    late_rows(room, 90, 2)

    assert sweep(room, HOUR).changed == 0
    assert sweep(room, DAY).late == 1


@any_source
def test_once_sweeps_and_plan_knows_it_before(room: Bench):
    late_rows(room, 30, 2, 3)
    room.close()
    planned = room.run("plan", "--json").document
    report = room.run("once")

    assert planned["create"] == 2
    assert "2 changes came up to 30 min behind their stamps" in report.out
    assert len(room.sandbox.contracts()) == 3
    assert room.run("plan", "--json").document["create"] == 0


@any_source
def test_a_poll_sees_a_change_before_a_sweep_and_it_is_not_late(room: Bench):
    room.rows.add({"id": 2})
    assert room.poll().created == 1

    assert sweep(room).changed == 0
    assert read_status(room.sync.state, datetime.now(UTC))["late"] is None


def test_a_page_ends_where_polls_have_read_to(room: Bench):
    room.configure(source={"page_size": 2})
    late_rows(room, 10, *range(10, 15))
    room.rows.add(*({"id": number} for number in range(20, 30)))

    run = sweep(room)
    assert run.late == 5
    assert run.rows < 10  # the rest is the polls'


def test_numbers_are_swept_by_samples_of_them(
    tmp_path: Path, sandbox: Sandbox, source_url: str, monkeypatch: pytest.MonkeyPatch
):
    clock = [timedelta()]
    really = Dialect.clock
    monkeypatch.setattr(Dialect, "clock", lambda *given: really(*given) + clock[0])
    source = {"lookback": 1, "clock_margin": "2s"}
    with Bench(tmp_path, sandbox, source_url, source=source) as bench:
        bench.rows = Rows(bench.rows_url, sa.Column("updated_at", sa.BigInteger))
        bench.rows.add({"id": 1, "updated_at": 100})
        bench.poll()
        with bench.sync.state.begin() as tx:
            number = watermark.WatermarkType.INTEGER
            watermark.move(tx, 100, type_=number, kind="set", who="test", reason=None, now=NOW)
        sweep(bench)  # takes the sample 100
        clock[0] = timedelta(minutes=30)
        bench.rows.add({"id": 2, "updated_at": 200})
        sweep(bench)  # and 200
        with bench.sync.state.begin() as tx:
            watermark.move(tx, 200, type_=number, kind="set", who="test", reason=None, now=NOW)
        bench.sync.capture.read_to = None
        bench.rows.add({"id": 3, "updated_at": 150})  # committed late

        run = sweep(bench)
        assert run.late >= 1
        assert "erp-3" in sandbox.contracts()


NOW = datetime(2026, 11, 25, tzinfo=UTC)


@any_source
def test_a_restart_repeats_no_sweep_and_a_reconcile_counts_as_each(room: Bench):
    room.reconcile()
    with room.sync.state.read() as tx:
        swept = control.load(tx, Sweeps)
    assert swept is not None
    assert [each.window for each in swept.last] == [HOUR, DAY]

    room.close()
    with structlog.testing.capture_logs() as log, room.daemon_thread():
        wait_until(lambda: any(line["event"] == "poll.finished" for line in log), "a poll")
    assert not [line for line in log if line["event"] == "sweep.finished"]


@any_source
def test_the_daemon_sweeps_by_itself(room: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cdc_sync.capture.loop.SWEEP_CHECK_SECONDS", 0.05)
    with room.sync.state.begin() as tx:
        control.remove(tx, Sweeps)
    late_rows(room, 20, 2)
    with room.daemon_thread():
        wait_until(lambda: "erp-2" in room.sandbox.contracts(), "the late row is delivered")


@any_source
def test_nothing_is_late_where_the_next_poll_reads_everything(room: Bench):
    room.rows.add({"id": 2, "updated_at": datetime.now(UTC) - timedelta(minutes=30)})
    room.configure(mapping={"description": "another {plan}"})

    with room.sync.state.read() as tx:
        before = control.load(tx, Sweeps)
    assert sweep(room) is None
    with room.sync.state.read() as tx:
        assert control.load(tx, Sweeps) == before  # it is due as it was
    assert room.poll().kind == "reconcile"
    assert read_status(room.sync.state, datetime.now(UTC))["late"] is None


@pytest.mark.parametrize("source_url", ["postgresql", "mariadb"], indirect=True)
def test_a_change_of_today_is_not_late_where_the_watermark_is_a_date(
    tmp_path: Path, sandbox: Sandbox, source_url: str
):
    source = {"clock_margin": "2s", "lookback": "2s", "time_zone": "UTC"}
    with Bench(tmp_path, sandbox, source_url, source=source) as bench:
        bench.rows = Rows(bench.rows_url, sa.Column("updated_at", sa.Date))
        today = datetime.now(UTC).date()
        bench.rows.add({"id": 1, "updated_at": today})
        bench.poll()
        bench.poll()
        bench.rows.add({"id": 2, "updated_at": today})

        run = sweep(bench, DAY)
        assert (run.created, run.late) in ((1, 0), (0, 0))  # the next poll reads it, too
        assert bench.poll().created + run.created == 1


@any_source
def test_plan_knows_that_the_guard_judges_polls_and_sweeps_by_themselves(room: Bench):
    room.configure(guard={"max_changes": "30%", "min_contracts": 5})
    room.rows.add(*({"id": number} for number in range(2, 12)))
    room.poll()
    room.deliver()
    passed = datetime.now(UTC) - timedelta(minutes=30)
    for number in (2, 3, 4):
        room.rows.change(number, plan="new")
        room.rows.change(number + 3, plan="late", updated_at=passed)
    room.close()
    planned = room.run("plan", "--json").document
    report = room.run("once", "--json").document

    assert (planned["update"], planned["held"]) == (6, 0)
    assert (report["updated"], report["held"]) == (6, 0)


@any_source
def test_none_switches_sweeps_off(room: Bench):
    room.configure(source={"sweeps": "none"})
    late_rows(room, 20, 2)
    room.run("once")

    assert "erp-2" not in room.sandbox.contracts()
    assert room.run("reconcile").code == 0
    assert "erp-2" in room.sandbox.contracts()


@any_source
def test_a_sweep_that_takes_long_is_stretched_and_says_so(
    room: Bench, monkeypatch: pytest.MonkeyPatch
):
    seconds = iter([0.0, 0.0])  # at its beginning
    clock = SimpleNamespace(monotonic=lambda: next(seconds, 100.0))
    loop = Loops(room.sync.capture).sweeps
    monkeypatch.setattr("cdc_sync.capture.loop.time", clock)
    with structlog.testing.capture_logs() as log:
        loop.sweep(timedelta(minutes=1), NEVER)

    (line,) = [line for line in log if line["event"] == "sweep.stretched"]
    assert (line["window"], line["took"]) == ("1m", 100)


def test_a_sweep_never_writes_an_older_view_over_a_newer_one(
    room: Bench, monkeypatch: pytest.MonkeyPatch
):
    """While a sweep reads a page, a poll waits; what it then reads is newer, and stays."""
    late_rows(room, 20, 2)
    capture = room.sync.capture
    really, polled = capture.page_lock.turn, []

    def turn(rank: float) -> Any:
        take = really(rank)

        def waits() -> Any:
            if rank > POLL_RANK and not polled:
                room.rows.change(2, plan="Newer")
                thread = threading.Thread(target=lambda: polled.append(room.poll()), daemon=True)
                thread.start()
                thread.join(20)
            return take()

        return waits

    monkeypatch.setattr(capture.page_lock, "turn", turn)
    sweep(room)
    assert room.sandbox.contracts()["erp-2"]["description"].startswith("Newer")


@pytest.mark.quick
def test_of_those_that_wait_for_the_lock_the_shortest_goes_first():
    lock, order, begun = PageLock(), [], threading.Barrier(4)

    def page(rank: float) -> None:
        begun.wait(10)
        with lock.turn(rank)():
            order.append(rank)

    ranks = (FULL_SCAN_RANK, 86_400.0, POLL_RANK)
    threads = [threading.Thread(target=page, args=(rank,), daemon=True) for rank in ranks]
    with lock.turn(FULL_SCAN_RANK)():
        for thread in threads:
            thread.start()
        begun.wait(10)
        wait_until(lambda: lock.waiting() == 3, "all wait")
    for thread in threads:
        thread.join(10)

    assert order == sorted(ranks)


@pytest.mark.quick
def test_a_long_poll_lets_a_scan_that_waits_read_a_page_between_its_own():
    lock, order = PageLock(), []

    def scan() -> None:
        with lock.turn(FULL_SCAN_RANK)():
            order.append("scan")

    waiter = threading.Thread(target=scan, daemon=True)
    take_poll = lock.turn(POLL_RANK)
    with take_poll():
        waiter.start()
        wait_until(lambda: lock.waiting() == 1, "it waits")
    with take_poll():
        order.append("poll")
    waiter.join(10)

    assert order == ["scan", "poll"]
