"""A row's whole way, from each database to CustomerGauge, over real HTTP."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import recheck_held, reconcile
from cdc_sync.config.load import load_config
from cdc_sync.contract import Status
from cdc_sync.state import contracts, control, outbox
from cdc_sync.state.history import Run
from cdc_sync.state.values import Balance
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.rows import LONG_AGO, Rows, rows_in
from tests.support.sandbox import Sandbox, running_sandbox

STILL = threading.Event()


class Journey:
    """A source, a sandbox, and the sync between them, which a test opens and closes."""

    def __init__(self, folder: Path, rows: Rows, sandbox: Sandbox) -> None:
        self.folder = folder
        self.rows = rows
        self.sandbox = sandbox
        self.sections: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self) -> Iterator[Sync]:
        path = self.folder / "config.yaml"
        write_config(path, self.rows.url, self.sandbox.url, **self.sections)
        config = load_config(path, os.environ)
        with open_sync(config, redaction_of(config)) as sync:
            yield sync

    def run(self, capture: Any = poll) -> Run:
        """One run of a fresh process, as it were: capture, then deliver."""
        with self.open() as sync:
            run: Run = capture(sync.capture, STILL)
            sync.delivery.drain(STILL)
        return run

    def capture(self) -> Run:
        with self.open() as sync:
            return poll(sync.capture, STILL)

    def puts(self) -> int:
        """How many PUTs were applied since the last time this was asked."""
        applied = len(self.sandbox.puts())
        new, self._seen = applied - getattr(self, "_seen", 0), applied
        return new

    def contract(self, source_id: str = "1") -> dict[str, Any]:
        with self.open() as sync, sync.state.read() as tx:
            found = contracts.find(tx, source_id)
        assert found is not None
        return found

    def statuses(self) -> dict[Status, int]:
        with self.open() as sync, sync.state.read() as tx:
            return {status: n for status, n in contracts.count_by_status(tx).items() if n}


@pytest.fixture
def journey(source_url: str, tmp_path: Path, sandbox: Sandbox) -> Iterator[Journey]:
    with rows_in(source_url) as rows:
        yield Journey(tmp_path, rows, sandbox)


@pytest.fixture
def on_sqlite(tmp_path: Path, sandbox: Sandbox) -> Iterator[Journey]:
    with rows_in(f"sqlite:///{tmp_path / 'source.db'}") as rows:
        yield Journey(tmp_path, rows, sandbox)


def test_a_row_is_sent_once_and_then_only_when_it_changes(journey: Journey):
    journey.rows.add({"id": 1, "account_name": "ACME"}, {"id": 2})
    assert (journey.run().created, journey.puts()) == (2, 2)
    assert (journey.run().changed, journey.puts()) == (0, 0)

    journey.rows.change(1, account_name="ACME Ltd")
    assert (journey.run().updated, journey.puts()) == (1, 1)
    assert journey.sandbox.contracts()["erp-1"]["account"] == "ACME Ltd"

    journey.rows.touch_all()
    assert (journey.run().changed, journey.puts()) == (0, 0)
    assert journey.statuses() == {Status.SYNCED: 2}


def test_a_change_that_is_taken_back_before_its_delivery_is_not_sent(journey: Journey):
    journey.rows.add({"id": 1})
    journey.run()
    journey.puts()

    journey.rows.change(1, plan="Silver")
    assert journey.capture().updated == 1
    journey.rows.change(1, plan="Gold")

    assert (journey.run().updated, journey.puts()) == (0, 0)
    assert journey.contract()["status"] == "synced"


def test_many_changes_while_nothing_is_delivered_become_one_put_with_the_latest(journey: Journey):
    journey.rows.add({"id": 1})
    for plan in ("Silver", "Bronze", "Tin"):
        journey.rows.change(1, plan=plan)
        journey.capture()

    journey.run()
    assert journey.puts() == 1
    assert journey.sandbox.contracts()["erp-1"]["description"] == "Tin"


def test_a_put_whose_record_was_lost_is_sent_again_after_a_revert(journey: Journey):
    journey.rows.add({"id": 1})
    journey.run()
    journey.rows.change(1, plan="Silver")
    with journey.open() as sync:
        poll(sync.capture, STILL)
        now = datetime.now(UTC)
        with sync.state.begin() as tx:  # a process that claims and sends, and dies
            outbox.claim(tx, now, 10, "dead", now, claimed_at=now)
    journey.puts()

    journey.rows.change(1, plan="Gold")
    journey.run()
    assert journey.puts() == 1
    assert journey.sandbox.contracts()["erp-1"]["description"] == "Gold"
    assert journey.contract()["acknowledged"] == journey.contract()["payload"]


def test_a_token_that_is_revoked_costs_nothing_but_a_new_one(journey: Journey):
    journey.rows.add({"id": 1})
    journey.run()
    requests.post(f"{journey.sandbox.url}/revoke", timeout=20)
    journey.rows.change(1, plan="Silver")
    journey.run()

    assert journey.sandbox.contracts()["erp-1"]["description"] == "Silver"
    assert journey.contract()["status"] == "synced"


def test_tokens_that_end_while_a_table_is_delivered_are_renewed(on_sqlite: Journey):
    with running_sandbox(token_seconds=1) as sandbox:
        on_sqlite.sandbox = sandbox
        on_sqlite.sections = {"customergauge": {"rate_limit": "20/s"}}
        sandbox.strike("latency=20ms")
        on_sqlite.rows.add(*({"id": n} for n in range(40)))
        on_sqlite.run()

        assert len(sandbox.contracts()) == on_sqlite.puts() == 40


def test_two_rows_that_want_one_reference_are_told_apart(journey: Journey):
    journey.sections = {"mapping": {"reference": "{plan}"}}
    journey.rows.add({"id": 1, "plan": "same"}, {"id": 2, "plan": "same"}, {"id": 3, "plan": "x"})
    journey.run()

    assert journey.puts() == 2
    assert journey.sandbox.contracts()["same"]["account"] == "Account 1"
    refused = journey.contract("2")
    assert (refused["status"], refused["reference"]) == ("rejected", None)
    assert "same belongs to 1 already" in refused["last_error"]
    journey.rows.touch_all()
    assert (journey.run().changed, journey.puts()) == (0, 0)


def test_a_bad_row_does_not_stop_the_good_ones_and_is_sent_once_it_is_mended(journey: Journey):
    journey.rows.add({"id": 1}, {"id": 2, "account_name": None}, {"id": 3, "start_date": None}, {"id": 4})  # fmt: skip
    assert (journey.run().rejected, journey.puts()) == (2, 2)
    assert journey.statuses() == {Status.SYNCED: 2, Status.REJECTED: 2}

    journey.rows.change(2, account_name="ACME")
    assert (journey.run().created, journey.puts()) == (1, 1)


def test_a_row_that_customergauge_refuses_is_told_in_its_words_and_not_sent_again(journey: Journey):
    journey.rows.add({"id": 1}, {"id": 2})
    journey.sandbox.strike('status=422 times=1 body={"errors":{"start":["No."]}}')
    journey.run()
    assert journey.statuses() == {Status.SYNCED: 1, Status.REJECTED: 1}
    journey.puts()

    journey.rows.touch_all()
    journey.run()
    assert journey.puts() == 0


def test_ten_thousand_rows_that_are_touched_send_nothing(on_sqlite: Journey):
    on_sqlite.sections = {"source": {"page_size": 1000}}
    on_sqlite.rows.add(*({"id": n} for n in range(10_000)))
    with on_sqlite.open() as sync:
        assert poll(sync.capture, STILL).created == 10_000
        with sync.state.begin() as tx:  # as if all had been delivered
            tx.exec_driver_sql("UPDATE contract SET status = 'synced', acknowledged = payload, next_attempt_at = NULL")  # fmt: skip

    on_sqlite.rows.touch_all()
    run = on_sqlite.run()
    assert (run.rows, run.changed, on_sqlite.puts()) == (10_000, 0, 0)


def test_a_row_that_is_marked_as_deleted_is_kept_by_default(journey: Journey):
    journey.sections = {"source": {"deleted_when": "plan = 'deleted'"}}
    journey.rows.add({"id": 1})
    journey.run()
    journey.puts()
    journey.rows.change(1, plan="deleted")

    assert (journey.run().gone, journey.puts()) == (1, 0)
    assert journey.contract()["status"] == "gone"
    journey.rows.change(1, plan="Gold")
    assert (journey.run().gone, journey.puts()) == (0, 0)
    assert journey.contract()["status"] == "synced"


def test_a_row_that_is_marked_as_deleted_is_ended_where_that_is_the_policy(journey: Journey):
    journey.sections = {
        "source": {"deleted_when": "plan = 'deleted'"},
        "deletes": {"policy": "end"},
    }
    journey.rows.add({"id": 1}, {"id": 2})
    journey.run()
    journey.puts()
    journey.rows.change(1, plan="deleted", account_name="must not be sent")

    for puts in (1, 0):
        journey.run()
        assert journey.puts() == puts
        assert journey.contract()["status"] == "gone"
    held = journey.sandbox.contracts()["erp-1"]
    assert (held["account"], held["description"]) == ("Account 1", "Gold")
    assert abs((datetime.fromisoformat(held["end"]) - datetime.now(UTC).replace(tzinfo=None)).days) <= 1  # fmt: skip

    journey.rows.change(1, plan="Gold", account_name="Account 1")
    journey.run()
    assert journey.sandbox.contracts()["erp-1"]["end"] is None


def test_a_reconcile_finds_what_no_poll_can_see(journey: Journey):
    journey.sections = {"source": {"page_size": 3}}
    journey.rows.add(*({"id": n, "updated_at": LONG_AGO} for n in range(10)))
    journey.run()
    journey.puts()
    journey.rows.change_unstamped(4, plan="Silver")
    journey.rows.add({"id": 11, "updated_at": None})
    journey.rows.remove(7)
    assert journey.run().changed == 0

    run = journey.run(reconcile)
    assert (run.created, run.updated, run.gone, journey.puts()) == (1, 1, 1, 2)
    assert journey.contract("7")["status"] == "gone"
    assert journey.run(reconcile).changed == 0


def test_a_reconcile_counts_what_polls_should_have_seen(journey: Journey):
    """A change whose stamp lies behind the watermark; one that no poll could know yet is none."""
    journey.rows.add({"id": 1, "updated_at": LONG_AGO}, {"id": 2, "updated_at": LONG_AGO})
    journey.run()
    journey.rows.change_unstamped(1, plan="Silver")
    journey.rows.change(2, plan="Silver")
    assert journey.run(reconcile).missed == 1
    assert journey.run(reconcile).missed == 0


def test_a_reference_is_kept_where_its_column_is_emptied(journey: Journey):
    journey.sections["mapping"] = {"reference": "{account_name}", "account": "plan"}
    journey.rows.add({"id": 1})
    journey.run()
    journey.rows.change(1, account_name=None, plan="Silver")
    journey.run()
    assert journey.sandbox.contracts()["Account 1"]["account"] == "Silver"
    assert journey.statuses() == {Status.SYNCED: 1}


def test_a_reconcile_finds_thousands_that_are_gone(on_sqlite: Journey):
    on_sqlite.rows.add(*({"id": n} for n in range(2500)))
    on_sqlite.capture()
    on_sqlite.rows.remove(*range(1, 2500))
    with on_sqlite.open() as sync:
        assert reconcile(sync.capture, STILL).gone == 2499


def test_an_empty_source_calls_nothing_gone(journey: Journey):
    journey.rows.add({"id": 1})
    journey.run()
    journey.puts()
    journey.rows.remove()

    run = journey.run(reconcile)
    assert (run.gone, journey.contract()["status"], journey.puts()) == (1, "held", 0)

    journey.run(recheck_held)  # as `discard` has it done
    assert (journey.contract()["status"], journey.puts()) == ("held", 0)
    journey.rows.add({"id": 1})
    journey.run(recheck_held)
    assert (journey.contract()["status"], journey.puts()) == ("synced", 0)


def test_the_balance_accounts_for_every_row(journey: Journey):
    journey.sections = {"source": {"id": ["plan", "id"]}, "mapping": {"reference": "{id}"}}
    journey.rows.add({"id": 1}, {"id": 2, "plan": None}, {"id": 3, "start_date": None})
    journey.run(reconcile)
    with journey.open() as sync, sync.state.read() as tx:
        balance = control.load(tx, Balance)

    assert (balance.rows, balance.rejected, balance.unexplained) == (3, 1, 1)


def test_a_mapping_that_changed_sends_what_it_changes_and_no_more(journey: Journey):
    journey.rows.add({"id": 1}, {"id": 2, "plan": None})
    journey.run()
    journey.puts()
    journey.sections = {"mapping": {"description": "Plan {plan}"}}

    assert (journey.run().updated, journey.puts()) == (2, 2)
    assert (journey.run().changed, journey.puts()) == (0, 0)
