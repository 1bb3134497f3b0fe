"""What could lose, repeat or hang: each test is a trouble that must not do any of it."""

import os
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.capture.loop import CaptureLoop
from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import Job, Sender
from cdc_sync.customergauge.token import Token
from cdc_sync.daemon.daemon import Daemon
from cdc_sync.demo import demo
from cdc_sync.errors import SourceUnavailable, StateUnavailable
from cdc_sync.log import Redaction
from cdc_sync.operations.runs import keep_reconcile
from cdc_sync.operations.status import read_status
from cdc_sync.source.reader import Scan
from cdc_sync.state import watermark
from cdc_sync.state.history import STOPPED, Run
from tests.support.configs import write_config
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.there import There, all_synced, running, status_of
from tests.support.wait import wait_until
from tests.support.warm import command

STILL = threading.Event()


def test_jobs_that_are_taken_back_as_soon_as_they_are_given_come_back_unsent(there: There):
    with there.open() as sync:
        config = sync.config.customergauge
    now = datetime.now(UTC)
    token = Token("none", now)
    sender: Sender[int] = Sender(
        config,
        Redaction([]),
        now=lambda: now,
        token=lambda: token,
        shuts=lambda _reply: False,
        wake=lambda: None,
    )
    try:
        sender.submit(Job(n, Request("contracts", b"{}"), now) for n in range(20))
        sender.take_back()
        wait_until(lambda: sender.done() == 20, "all of them are back")
    finally:
        sender.close()
    assert not there.sandbox.puts()


def test_two_rows_with_one_id_do_not_stop_the_others(tmp_path: Path, sandbox: Sandbox):
    with rows_in(f"sqlite:///{tmp_path / 'source.db'}", name="inner_rows") as rows:
        rows.add({"id": 1, "plan": "old"}, {"id": 2})
        there = There(tmp_path, rows, sandbox)
        query = "SELECT * FROM inner_rows UNION ALL SELECT * FROM inner_rows"
        with there.open(source={"table": None, "query": query}) as sync:
            poll(sync.capture, STILL)
            sync.delivery.drain(STILL)
            assert sorted(sandbox.contracts()) == ["erp-1", "erp-2"]
            assert len(sandbox.puts()) == 2


def test_an_id_that_no_page_can_start_after_is_named_and_kills_nothing(there: There):
    there.rows.execute("DROP TABLE contracts")
    there.rows.execute(
        "CREATE TABLE contracts AS SELECT CAST(x'4dff' AS TEXT) AS id, 'ACME' AS account_name,"
        " '2024-01-01' AS start_date, NULL AS end_date, 'Gold' AS plan,"
        " '2026-01-01 00:00:00' AS updated_at"
    )
    with there.open(source={"page_size": 1}) as sync, pytest.raises(SourceUnavailable, match="M"):
        poll(sync.capture, STILL)


def test_a_first_put_that_is_on_its_way_is_ended_when_its_row_goes_and_policy_is_end(there: There):
    there.rows.add({"id": 1}, {"id": 2})
    with there.open(deletes={"policy": "end"}) as sync:
        poll(sync.capture, STILL)
        there.sandbox.strike("latency=1s times=2")
        with running(sync):
            wait_until(lambda: there.sandbox.faults.listed()[0]["struck"] == 2, "both PUTs left")
            there.rows.remove(1)
            reconcile(sync.capture, STILL)
            wait_until(lambda: status_of(sync, "1") == "gone", "the contract is ended")
    assert there.sandbox.contracts()["erp-1"]["end"] is not None
    assert there.sandbox.contracts()["erp-2"]["end"] is None


def test_polls_go_on_by_themselves_whatever_the_wall_clock_does(there: There):
    stop = threading.Event()
    with there.open(schedule={"poll": "1s"}) as sync:
        loop = CaptureLoop(sync.capture, lambda: None)
        polls = threading.Thread(target=loop.run, args=(stop,), daemon=True)
        polls.start()
        try:
            wait_until(lambda: loop.last, "the first poll")
            there.rows.add({"id": 1})
            wait_until(lambda: loop.last and loop.last.run.changed, "a poll that nobody woke")
        finally:
            stop.set()
            polls.join(10)


def test_delivery_goes_on_when_our_clock_is_set_back(there: There, monkeypatch: pytest.MonkeyPatch):
    there.rows.add({"id": 1})
    ahead = [timedelta(days=1)]
    monkeypatch.setattr("cdc_sync.sync.utc_now", lambda: datetime.now(UTC) + ahead[-1])
    there.sandbox.strike("status=429 retry_after=600 times=1")
    with there.open(customergauge={"rate_limit": "5/s"}) as sync:
        poll(sync.capture, STILL)
        with running(sync):
            wait_until(lambda: sync.delivery.gate.shut_until, "everybody waits")
            ahead.append(timedelta())
            wait_until(lambda: all_synced(sync, 1), "the contract was delivered")


def test_a_long_poll_shows_its_progress_page_by_page(there: There):
    with there.open(source={"page_size": 10}) as sync:
        poll(sync.capture, STILL)
        there.rows.add(*({"id": n} for n in range(35)))
        seen: list[int] = []
        sync.capture.progress = lambda run: seen.append(run.rows)
        poll(sync.capture, STILL)
    assert seen == [10, 20, 30]


def test_a_watermark_that_a_person_moves_during_a_poll_stays_where_it_was_put(
    there: There, monkeypatch: pytest.MonkeyPatch
):
    there.rows.add(*({"id": n} for n in range(30)))
    put = datetime(2020, 1, 1, tzinfo=UTC)
    read_page = Scan.changed_page
    with there.open(source={"page_size": 10}) as sync:
        poll(sync.capture, STILL)
        there.rows.touch_all()

        def moved_at_the_second_page(scan: Scan, start: Any, after: Any) -> Any:
            if after is not None:
                monkeypatch.undo()
                with sync.state.begin() as tx:
                    now = datetime.now(UTC)
                    type_ = scan.column.type
                    watermark.move(
                        tx, put, type_=type_, kind="set", who="anna", reason=None, now=now
                    )
            return read_page(scan, start, after)

        monkeypatch.setattr(Scan, "changed_page", moved_at_the_second_page)
        poll(sync.capture, STILL)
        with sync.state.read() as tx:
            assert watermark.read(tx).value == put
        assert poll(sync.capture, STILL).rows == 30


def test_a_thread_that_dies_ends_the_daemon(there: There, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Scan, "full_page", lambda *_: 1 / 0)
    with there.open() as sync, running(sync) as daemon:
        daemon.join(20)
        assert not daemon.is_alive()
    assert isinstance(daemon.failed[0], ZeroDivisionError)  # type: ignore[attr-defined]


def test_a_reconcile_that_was_stopped_begins_anew_with_the_next_daemon(there: There):
    there.rows.add({"id": 1})
    with there.open() as sync:
        poll(sync.capture, STILL)
        now = datetime.now(UTC)
        keep_reconcile(sync.capture, Run("reconcile", now).ended(now, STOPPED))
        with running(sync):
            wait_until(
                lambda: read_status(sync.state, now)["last_reconcile"]["error"] is None, "it ended"
            )


def test_a_nightly_reconcile_that_dies_ends_the_daemon(
    there: There, monkeypatch: pytest.MonkeyPatch
):
    with there.open(schedule={"reconcile": "1s"}) as sync:
        poll(sync.capture, STILL)
        monkeypatch.setattr(Scan, "full_page", lambda *_: 1 / 0)
        with running(sync) as daemon:
            daemon.join(20)
            assert not daemon.is_alive()


def test_a_daemon_stops_in_time_while_a_page_of_the_source_hangs(
    there: There, monkeypatch: pytest.MonkeyPatch
):
    hangs, released = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        released.wait(60)
        raise StateUnavailable("too late")

    monkeypatch.setattr(Scan, "full_page", hang)
    with there.open(customergauge={"timeout": "1s"}) as sync:
        try:
            with running(sync):
                assert hangs.wait(20)
        finally:
            released.set()


def test_the_demo_ends_when_its_daemon_dies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Daemon, "_beat", lambda _daemon: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.run_demo(60, threading.Event())


def test_the_state_and_what_lies_beside_it_are_for_us_alone(there: There):
    there.rows.add({"id": 1})
    with there.open() as sync:
        poll(sync.capture, STILL)
        sync.delivery.drain(STILL)
        ours = [file for file in there.folder.iterdir() if file.name.startswith(("state", "token"))]
        assert {"state.db", "state.db-wal", "state.db-shm", "token.json"} <= {f.name for f in ours}
        for file in ours:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


@pytest.fixture
def secret_sandbox() -> Iterator[Sandbox]:
    with running_sandbox(client_secret="hush-hush-hush") as sandbox:
        yield sandbox


def test_no_secret_is_in_any_output_or_in_the_state(there: There, secret_sandbox: Sandbox):
    there.rows.add({"id": 1}, {"id": 2, "account_name": None})
    file = write_config(
        there.folder / "config.yaml",
        there.rows.url,
        secret_sandbox.url,
        log={"level": "debug"},
        customergauge={"client_secret": "hush-hush-hush"},
    )
    secret_sandbox.strike("status=401 times=1", "status=500 times=1")
    out = ""
    for arguments in (["once"], ["status"], ["config", "show"], ["contracts", "list", "--json"]):
        done = command(["--config", str(file), *arguments], env=os.environ)
        out += done.stdout + done.stderr
    token = (there.folder / "token.json").read_text().split('"access_token": "')[1].split('"')[0]
    held = b"".join(f.read_bytes() for f in there.folder.glob("state.db*"))
    for secret in ("hush-hush-hush", token):
        assert secret not in out
        assert secret.encode() not in held
