"""What a stranger noticed who had only the promises: each command, as a process."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from cdc_sync.capture.poll import poll
from cdc_sync.clock import utc_now
from cdc_sync.operations import actions
from cdc_sync.rules.verdict import ApiState
from tests.support.commands import Installed, installed
from tests.support.configs import write_config
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.wait import wait_until

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def test_a_source_that_is_empty_is_held_although_few_contracts_are_known(
    synced: Installed, sandbox: Sandbox
) -> None:
    before = len(sandbox.puts())
    synced.source("DELETE FROM contracts")
    report = synced.run("reconcile", "--json")
    again = synced.run("discard", "--json").document
    released = synced.run("approve", "--yes", "--json").document

    assert (report.code, report.document["held"], report.document["gone"]) == (1, 4, 4)
    assert again["held"] == 4
    assert released == {"released": 4, "held": 0}
    assert len(sandbox.puts()) == before


def test_an_id_of_another_type_makes_other_contracts(
    postgresql_url: str, config_file: Path, sandbox: Sandbox
) -> None:
    code = [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(20)),
    ]
    sections = {"source": {"id": "code"}, "mapping": {"reference": "erp-{id}"}}
    there = Installed(write_config(config_file, postgresql_url, sandbox.url, **sections))
    with rows_in(postgresql_url, *code) as rows:
        rows.add({"id": 1, "code": "A1"}, {"id": 2, "code": "B2"})
        first = there.run("once", "--json").document
        sections = {"source": {"id": "id"}, "mapping": {"reference": "new-{id}"}}
        write_config(config_file, postgresql_url, sandbox.url, **sections)
        second = there.run("once", "--json").document

    assert (first["created"], second["created"], second["gone"]) == (2, 2, 2)
    assert (second["error"], second["rejected"]) == (None, 0)


def test_a_once_beside_another_waits_for_its_end(synced: Installed, sandbox: Sandbox) -> None:
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


def test_soft_deleted_rows_are_not_in_the_balance(tmp_path: Path, sandbox: Sandbox) -> None:
    there = installed(tmp_path, sandbox.url, source={"deleted_when": "plan = 'Gone'"})
    there.source("UPDATE contracts SET plan = 'Gone' WHERE id = 3")
    there.run("once")
    balance = there.run("status", "--json").document["balance"]

    parts = ("pending", "synced", "rejected", "waiting", "held")
    assert balance["rows"] == sum(balance[name] for name in parts) == 3
    assert balance["unexplained"] == 0


def test_a_plan_counts_gone_rows_as_gone_alone_and_tells_what_waits(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    there = installed(tmp_path, sandbox.url, source={"deleted_when": "plan = 'Gone'"})
    there.capture(deliver=True)
    sandbox.strike("status=503")
    there.source(
        "UPDATE contracts SET plan = 'Gone' WHERE id = 3",
        f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1",
    )
    there.run("once")
    full, words = there.run("plan", "--full", "--json").document, there.run("plan").out

    assert (full["rows"], full["unchanged"], full["gone"]) == (4, 3, 1)
    assert "1 more waits for its next try: cdc-sync contracts list --status pending" in words


def test_every_full_scan_is_the_last_reconcile(fresh: Installed) -> None:
    fresh.run("once")
    first = fresh.run("status", "--json").document["last_reconcile"]
    text = fresh.config.read_text()
    fresh.config.write_text(text.replace('"{plan}"', '"{plan} plan"'))
    fresh.run("once")
    second = fresh.run("status", "--json").document["last_reconcile"]

    assert (first["rows"], first["error"]) == (4, None)
    assert second["started"] > first["started"]


def test_a_source_that_is_away_is_told_as_json_too(synced: Installed) -> None:
    (synced.config.parent / "source.db").unlink()
    ran = synced.run("once", "--json")

    assert ran.code == 1
    assert "does not exist" in ran.document["error"]
    assert "does not exist" in ran.err


def test_a_number_is_no_lookback_of_times(tmp_path: Path, sandbox: Sandbox) -> None:
    there = installed(tmp_path, sandbox.url, source={"lookback": 500})
    ran = there.run("once")

    assert ran.code == 2
    assert "`source.lookback` is a number, and the column updated_at holds times." in ran.err


def test_an_alert_that_can_go_nowhere_is_found_before_the_night(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    there = installed(tmp_path, sandbox.url, alerts={"urls": ["nowhere://x"]})
    found = {one["name"]: one for one in there.run("check", "--json").document["findings"]}

    assert not found["alerts"]["ok"]
    assert "Apprise cannot read this URL" in found["alerts"]["mend"]


def test_stamps_in_two_forms_are_named(fresh: Installed) -> None:
    fresh.source("UPDATE contracts SET updated_at = '2026-01-02T12:00:00' WHERE id = 2")

    assert "updated_at is written in 2 forms: 2026-01-01 12:00:00, 2026-01-02T12" in (
        fresh.run("check").out
    )


def test_what_nobody_can_reach_is_the_reason_why_contracts_wait(
    fresh: Installed, sandbox: Sandbox
) -> None:
    sandbox.strike("status=503")
    said = fresh.run("once").out

    assert "3 wait.\nWhy: 503" in said
    assert "See: cdc-sync contracts list --status pending" in said


@pytest.mark.parametrize(
    ("status", "mend"), [(401, "Check `customergauge.client_id`"), (403, "let this client PUT")]
)
def test_a_refused_client_is_told_with_the_mend(
    fresh: Installed, sandbox: Sandbox, status: int, mend: str
) -> None:
    sandbox.strike(f"status={status}")
    fresh.capture(deliver=True)

    assert mend in fresh.run("status").out


def deliver_until_throttled(there: Installed) -> None:
    """One process delivers until it waits for a 429 itself, and has written that down."""
    stop = threading.Event()
    with there.open() as sync:
        poll(sync.capture, stop)
        delivery = threading.Thread(target=sync.delivery.run, args=(stop,))
        delivery.start()
        try:
            wait_until(
                lambda: (
                    sync.delivery.gate.state is ApiState.THROTTLED
                    and actions.everybody_waits(sync.state, utc_now())
                ),
                "everybody waits",
            )
        finally:
            stop.set()
            delivery.join(20)


def test_resume_does_not_promise_what_a_429_forbids(fresh: Installed, sandbox: Sandbox) -> None:
    sandbox.strike("status=429 retry_after=600 times=1")
    deliver_until_throttled(fresh)

    said = fresh.run("resume").out
    assert "CustomerGauge asks everybody to wait until" in said
    assert "at once" not in said


def test_a_contract_that_was_lost_there_shows_that_it_was_made_anew(
    synced: Installed, sandbox: Sandbox
) -> None:
    sandbox.ledger._contracts.clear()
    synced.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1")
    synced.capture(deliver=True)

    assert "made anew, for CustomerGauge had lost it" in synced.run("contracts", "show", "1").out


def test_another_watermark_column_is_in_the_watermarks_history(synced: Installed) -> None:
    synced.source("ALTER TABLE contracts ADD COLUMN touched TEXT DEFAULT '2026-03-01 12:00:00'")
    text = synced.config.read_text()
    synced.config.write_text(text.replace('"watermark": "updated_at"', '"watermark": "touched"'))
    synced.run("once")
    (move,) = synced.run("watermark", "history", "--json").document["moves"]

    assert (move["kind"], move["reason"]) == ("reset", "the watermark column is another")


def test_the_index_that_is_advised_has_names_that_are_quoted(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    there = installed(tmp_path, sandbox.url, source={"table": "my contracts"})
    there.source('ALTER TABLE contracts RENAME TO "my contracts"')

    assert "ON `my contracts` (updated_at, id);" in there.run("check").out


def test_a_resend_stays_due_when_a_change_comes_and_goes(
    synced: Installed, sandbox: Sandbox
) -> None:
    synced.run("pause")
    synced.run("contracts", "resend", "1")
    for plan in ("Silver", "Gold"):
        synced.source(f"UPDATE contracts SET plan = '{plan}', updated_at = {NOW} WHERE id = 1")
        synced.capture()
    before = len(sandbox.puts("erp-1"))
    synced.run("resume")
    synced.run("once")

    assert len(sandbox.puts("erp-1")) == before + 1
    assert synced.state("SELECT in_doubt, next_attempt_at FROM contract WHERE source_id = '1'") == [
        (None, None)
    ]


def test_a_state_from_a_backup_is_mended_by_a_resend_of_all(
    synced: Installed, sandbox: Sandbox
) -> None:
    synced.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1")
    synced.capture()  # the backup is of now: it is pending
    backup = (synced.config.parent / "state.db").read_bytes()
    synced.run("once")
    assert sandbox.contracts()["erp-1"]["description"] == "Silver"
    for part in ("state.db-wal", "state.db-shm"):
        (synced.config.parent / part).unlink(missing_ok=True)
    (synced.config.parent / "state.db").write_bytes(backup)
    synced.source(f"UPDATE contracts SET plan = 'Gold', updated_at = {NOW} WHERE id = 1")
    synced.run("contracts", "resend", "--all", "--yes")
    synced.run("reconcile")

    assert sandbox.contracts()["erp-1"]["description"] == "Gold"


def test_an_unknown_key_is_a_mistake_without_a_value_too(fresh: Installed) -> None:
    text = fresh.config.read_text()
    fresh.config.write_text(text.rstrip().removesuffix("}") + ', "guards": null}')

    assert fresh.run("config", "show").code == 2


def test_a_wait_for_a_429_is_shown_also_after_a_restart(fresh: Installed, sandbox: Sandbox) -> None:
    sandbox.strike("status=429 retry_after=600 times=1")
    for _ in range(2):  # each as a new process
        deliver_until_throttled(fresh)

    assert "asks everybody to wait (429), until" in fresh.run("status").out


def test_a_full_plan_of_an_empty_source_says_that_it_would_be_held(synced: Installed) -> None:
    synced.source("DELETE FROM contracts")
    planned = synced.run("plan", "--full", "--json").document

    assert (planned["gone"], planned["held"]) == (4, 3)  # one was never acknowledged


def test_a_first_few_are_sent_with_their_accounts(tmp_path: Path) -> None:
    with running_sandbox(strict_accounts=True) as strict:
        keys = {"create_missing_accounts": True}
        there = installed(tmp_path, strict.url, customergauge={"base_url": strict.url, **keys})
        first = there.run("once", "--limit", "2", "--json").document
        rest = there.run("once", "--json").document

    assert (first["created"], first["left"] + first["waiting"]) == (2, 1)
    assert (rest["created"], rest["waiting"]) == (1, 0)
