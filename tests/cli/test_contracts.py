"""contracts list, show and resend, as a process."""

from pathlib import Path

import pytest

from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox

LISTED = {
    "source_id",
    "reference",
    "account",
    "status",
    "attempts",
    "next_attempt_at",
    "http_status",
    "last_error",
    "changed_at",
    "acknowledged_at",
    "accepted",
}


def test_the_list_names_every_contract_with_its_columns(synced: Bench) -> None:
    document = synced.run("contracts", "list", "--json").document

    assert document["next"] is None
    assert [c["reference"] for c in document["contracts"]] == ["erp-1", "erp-2", "erp-3", "erp-4"]
    assert all(set(c) == LISTED for c in document["contracts"])
    assert document["contracts"][0]["status"] == "synced"
    assert document["contracts"][0]["acknowledged_at"].endswith("Z")


def test_the_list_of_what_is_rejected_says_the_reason(synced: Bench) -> None:
    [contract] = synced.run("contracts", "list", "--status", "rejected", "--json").document[
        "contracts"
    ]
    said = synced.run("contracts", "list", "--status", "rejected").out

    assert contract["source_id"] == "4"
    assert contract["last_error"][0]["field"] == "account"
    assert f"account: {contract['last_error'][0]['message']}" in said


def test_a_long_list_goes_on_after_its_cursor(synced: Bench) -> None:
    first = synced.run("contracts", "list", "--limit", "3", "--json").document
    rest = synced.run("contracts", "list", "--after", first["next"], "--json").document

    assert [c["source_id"] for c in first["contracts"]] == ["1", "2", "3"]
    assert [c["source_id"] for c in rest["contracts"]] == ["4"]
    assert rest["next"] is None


def test_a_status_that_there_is_not_is_a_mistake(synced: Bench) -> None:
    assert synced.run("contracts", "list", "--status", "lost").code == 2


@pytest.mark.parametrize("name", ["2", "erp-2"])
def test_one_contract_is_shown_by_id_and_by_reference(synced: Bench, name: str) -> None:
    synced.source(
        "UPDATE contracts SET end_date = '2027-12-31', updated_at = '2030-01-01 00:00:00'"
        " WHERE id = 2"
    )
    synced.sync_once(deliver=False)

    story = synced.run("contracts", "show", name, "--json").document
    said = synced.run("contracts", "show", name).out

    assert story["status"] == "pending"
    assert story["payload"]["end"] == "2027-12-31"
    assert story["acknowledged"]["end"] == "2026-12-31"
    assert story["diff"] == {"end": ["2026-12-31", "2027-12-31"]}
    assert [(a["http_status"], a["error"]) for a in story["history"]] == [(201, None)]
    assert "in_doubt" in story
    assert "erp-2   Globex   pending since" in said
    assert "2026-12-31 → 2027-12-31" in said
    assert "PUT" in said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("(9, 'Late', '2024-01-01', NULL, 'out', '2026-01-01 00:00:00')", "source.where"),
        ("(9, 'Late', '2024-01-01', NULL, 'old', '2026-01-01 00:00:00')", "source.deleted_when"),
        ("(9, 'Late', '2024-01-01', NULL, 'in', NULL)", "its updated_at is NULL"),
        ("(9, 'Late', '2024-01-01', NULL, 'in', '2040-01-01 00:00:00')", "newer than the last"),
        ("(9, 'Late', '2024-01-01', NULL, 'in', '2020-01-01 00:00:00')", "before the watermark"),
        ("(8, 'Late', '2024-01-01', NULL, 'in', '2020-01-01 00:00:00')", "not in the source"),
    ],
)
def test_show_asks_the_source_why_a_contract_is_unknown(
    tmp_path: Path, sandbox: Sandbox, row: str, reason: str
) -> None:
    scope = {"where": "plan <> 'out'", "deleted_when": "plan = 'old'"}
    bench = Bench.with_contracts(tmp_path, sandbox, source=scope)
    bench.sync_once(deliver=False)
    bench.source(f"INSERT INTO contracts VALUES {row}")

    ran = bench.run("contracts", "show", "9")

    assert ran.code == 1
    assert ran.out.startswith("The state does not know 9.")
    assert reason in ran.out


def test_a_row_with_a_null_watermark_waits_for_the_next_reconcile(synced: Bench) -> None:
    synced.source("INSERT INTO contracts VALUES (9, 'Late', '2024-01-01', NULL, 'Gold', NULL)")

    ran = synced.run("contracts", "show", "9", "--json")

    assert ran.code == 1
    assert ran.document["known"] is False
    assert "the next reconcile (03:00) will" in ran.document["reason"]


def test_show_needs_no_source_for_what_is_known_and_says_when_it_is_away(
    synced: Bench,
) -> None:
    (synced.folder / "source.db").rename(synced.folder / "away.db")

    assert synced.run("contracts", "show", "1").code == 0
    unknown = synced.run("contracts", "show", "99")

    assert unknown.code == 1
    assert "the source could not be asked" in unknown.out


def test_what_is_resent_is_put_once_more(synced: Bench, sandbox: Sandbox) -> None:
    assert synced.run("contracts", "resend", "erp-1", "2", "--json").document == {"resent": 2}
    synced.sync_once()

    assert len(sandbox.puts("erp-1")) == 2
    assert len(sandbox.puts("erp-3")) == 1


def test_resending_all_asks_first(synced: Bench) -> None:
    refused = synced.run("contracts", "resend", "--all")

    assert refused.code == 2
    assert "--yes" in refused.err
    assert synced.run("contracts", "resend", "--all", "--yes", "--json").document == {"resent": 3}


def test_an_unknown_name_is_a_mistake_and_changes_nothing(synced: Bench) -> None:
    ran = synced.run("contracts", "resend", "erp-1", "nobody", "99")

    assert ran.code == 2
    assert "nobody, 99" in ran.err
    assert synced.state("SELECT count(*) FROM contract WHERE status = 'pending'") == [(0,)]


def test_control_characters_of_a_source_do_not_reach_the_terminal(fresh: Bench) -> None:
    fresh.source("UPDATE contracts SET account_name = 'A' || char(27) || '[2J' || 'B'")
    fresh.sync_once(deliver=False)

    assert "\x1b" not in fresh.run("contracts", "list").out
    assert "\x1b" not in fresh.run("contracts", "show", "1").out


def test_a_resend_stays_due_when_a_change_comes_and_goes(synced: Bench, sandbox: Sandbox) -> None:
    synced.run("pause")
    synced.run("contracts", "resend", "1")
    for plan in ("Silver", "Gold"):
        synced.source(f"UPDATE contracts SET plan = '{plan}', updated_at = {NOW} WHERE id = 1")
        synced.sync_once(deliver=False)
    before = len(sandbox.puts("erp-1"))
    synced.run("resume")
    synced.run("once")

    assert len(sandbox.puts("erp-1")) == before + 1
    assert synced.state("SELECT in_doubt, next_attempt_at FROM contract WHERE source_id = '1'") == [
        (None, None)
    ]


def test_a_resend_of_all_corrects_a_state_from_a_backup(synced: Bench, sandbox: Sandbox) -> None:
    synced.source(f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1")
    synced.sync_once(deliver=False)  # the backup is of now: it is pending
    backup = (synced.folder / "state.db").read_bytes()
    synced.run("once")
    assert sandbox.contracts()["erp-1"]["description"] == "Silver"
    for part in ("state.db-wal", "state.db-shm"):
        (synced.folder / part).unlink(missing_ok=True)
    (synced.folder / "state.db").write_bytes(backup)
    synced.source(f"UPDATE contracts SET plan = 'Gold', updated_at = {NOW} WHERE id = 1")
    synced.run("contracts", "resend", "--all", "--yes")
    synced.run("reconcile")

    assert sandbox.contracts()["erp-1"]["description"] == "Gold"
