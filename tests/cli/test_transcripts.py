"""What a person sees in the first ten minutes and the worst one: each command, as a process."""

import re
from pathlib import Path

import pytest

from tests.support.bench import NOW, Bench
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox


def test_the_demo_shows_the_whole_system_and_proves_that_both_sides_agree(
    fresh: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    left = tmp_path / "left"
    left.mkdir()
    monkeypatch.setenv("TMPDIR", str(left))
    ran = fresh.run("demo", "--seconds", "3")

    assert ran.code == 0, ran.err
    assert re.search(
        r"^  sandbox  http://127\.0\.0\.1:\d+     page  http://127\.0\.0\.1:\d+     Ctrl-C ends it$",
        ran.out,
        re.MULTILINE,
    )
    assert re.search(
        r"^  contracts \d+ +synced \d+ +pending \d+ +rejected [1-9]\d*", ran.out, re.MULTILINE
    )
    assert re.search(r"^  \d\d:\d\d:\d\d  PUT +demo-\d+ .* 20[01]$", ran.out, re.MULTILINE)
    assert re.search(r"refused demo-\d+ +(account|start|end): ", ran.out)
    proof = r"^  (\d+) rows = (\d+) synced \+ 0 pending \+ (\d+) rejected; unexplained 0; CustomerGauge differs in 0$"
    balance = re.search(proof, ran.out, re.MULTILINE)
    assert balance, ran.out
    rows, synced, rejected = map(int, balance.groups())
    assert rows == synced + rejected > 400
    assert list(left.iterdir()) == []
    assert "Traceback" not in ran.err


def test_check_checks_everything_that_a_run_needs_and_names_the_next_step(
    fresh: Bench, sandbox: Sandbox
):
    ran = fresh.run("check")

    assert ran.code == 0
    lines = ran.out.splitlines()
    marks = [line.split()[:2] for line in lines if re.match(r"  (ok|note|WRONG) ", line)]
    assert marks == [
        ["ok", "config"],
        ["ok", "source"],
        ["note", "mapping"],
        ["note", "index"],
        ["ok", "horizon"],
        ["ok", "state"],
        ["ok", "token"],
        ["ok", "API"],
    ]
    assert f"at {fresh.folder / 'source.db'}, contracts: 4 rows in scope" in ran.out
    assert "the first 4 rows give 3 valid payloads" in ran.out
    assert "The first that does not, 4: account: must not be empty" in ran.out
    assert "CREATE INDEX" in ran.out
    assert "state.db (new)" in ran.out
    assert lines[-1] == f"Ready, 2 notes. Next: cdc-sync --config {fresh.config} plan"
    assert sandbox.puts() == []
    assert not (fresh.folder / "state.db").exists()


def test_check_names_the_server_but_never_its_password(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
):
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1})
    ran = Bench(tmp_path, sandbox, postgresql_url).run("check")

    assert ran.code == 0, ran.out
    assert re.search(r"ok    source     PostgreSQL \d+.* contracts: 1 row in scope", ran.out)
    assert "the first 1 row gives 1 valid payload\n" in ran.out
    assert re.search(r"none on \(updated_at, id\).*\n +CREATE INDEX CONCURRENTLY ON", ran.out)


def test_plan_says_what_a_first_sync_would_do_and_does_nothing(fresh: Bench, sandbox: Sandbox):
    ran = fresh.run("plan", "--limit", "3")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "4 rows: 3 to create, 0 to update, 1 invalid. CustomerGauge cannot delete contracts.",
        "  create  erp-1  ACME     2024-01-01 … 2026-12-31",
        "  create  erp-2  Globex   2024-01-01 … 2026-12-31",
        "  create  erp-3  Initech  2024-01-01 … 2026-12-31",
        "  …",
    ]
    assert fresh.run("plan", "--exit-code").code == 3
    assert sandbox.puts() == []


def test_what_plan_says_is_what_once_sends(fresh: Bench, sandbox: Sandbox):
    planned = fresh.run("plan", "--json").document
    report = fresh.run("once", "--json").document

    creates = {c["reference"] for c in planned["changes"] if c["action"] == "create"}
    assert creates == set(sandbox.contracts())
    assert (planned["create"], planned["invalid"]) == (report["created"], report["rejected"])
    assert fresh.run("plan", "--exit-code").code == 0


def test_a_careful_first_sync_sends_a_few_and_then_the_rest(fresh: Bench, sandbox: Sandbox):
    first = fresh.run("once", "--limit", "2")
    sent_first = len(sandbox.puts())
    rest = fresh.run("once")

    assert first.out.splitlines() == [
        "2 created, 1 waits. Look at erp-1 … erp-2 in CustomerGauge; then: cdc-sync once, or start the service.",
        "1 rejected: cdc-sync contracts list --status rejected",
    ]
    assert rest.out.splitlines() == [
        "1 created.",
        "1 rejected: cdc-sync contracts list --status rejected",
    ]
    assert (sent_first, len(sandbox.puts())) == (2, 3)
    assert (first.code, rest.code) == (1, 1)


def test_once_ends_with_0_when_every_contract_is_delivered(fresh: Bench, sandbox: Sandbox):
    fresh.source("DELETE FROM contracts WHERE id = 4")
    first, again = fresh.run("once"), fresh.run("once")

    assert (first.code, first.out) == (0, "3 created.\n")
    assert (again.code, again.out) == (0, "Nothing to send.\n")
    assert len(sandbox.puts()) == 3


def test_a_rewind_says_what_it_means_asks_and_sends_nothing_without_need(
    synced: Bench, sandbox: Sandbox
):
    synced.run("once")
    ran = synced.run("watermark", "rewind", "2h", "--reason", "the clock was wrong", answer="y\n")
    history = synced.run("watermark", "history")
    puts = len(sandbox.puts())
    synced.run("once")

    assert ran.code == 0, ran.err
    config, state = synced.config, synced.folder / "state.db"
    lines = ran.out.splitlines()
    assert lines[0] == f"config {config}, state {state}"
    assert lines[1].startswith("from ")
    assert lines[1].endswith("(2h before where it stands)")
    assert "read again; only what differs is sent." in lines[2]
    assert "Move it? [y/N]" in ran.err
    assert re.search(r"Moved \(version \d+\) by anna@", ran.out)
    assert re.search(r"anna@\S+ +rewind .* the clock was wrong", history.out)
    assert len(sandbox.puts()) == puts


def test_a_reset_keeps_references_and_says_so(synced: Bench):
    synced.run("once")
    ran = synced.run("watermark", "reset", "--yes")

    assert "All 4 rows are read once more; references and acknowledged payloads stay;" in ran.out
    assert ran.code == 0


def test_status_at_3_a_m_says_what_is_wrong_and_that_nothing_is_lost(
    synced: Bench, sandbox: Sandbox
):
    synced.source(f"UPDATE contracts SET end_date = '2027-12-31', updated_at = {NOW} WHERE id = 2")
    wrong_secret(synced)
    synced.run("once")
    ran = synced.run("status")

    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].startswith("NOT WELL: Delivery stands still since ")
    assert "(unauthorized): CustomerGauge refuses our client (401 " in lines[0]
    assert "`customergauge.client_secret`. Nothing is lost, 1 contract waits." in lines[0]
    assert "1 contract is rejected: cdc-sync contracts list --status rejected" in lines[1]
    where = f"  config  {synced.config}      state  {synced.folder / 'state.db'}"
    assert lines[2] == where
    assert re.match(r"  last poll     \d+ s ago, 1 row, 1 changed$", lines[3])
    assert re.match(r"  watermark     \S+ \(lookback, lag \d+ s\)$", lines[4])
    why = "SQLite does not tell which transactions are unfinished"
    assert lines[5] == f"                no horizon: {why}"
    balance = "4 rows = 2 synced + 1 pending + 1 rejected + 0 waiting + 0 held; unexplained 0"
    assert lines[6] == f"  {balance}"


def test_status_is_well_when_all_is_delivered(fresh: Bench):
    fresh.source("DELETE FROM contracts WHERE id = 4")
    fresh.run("once")
    ran = fresh.run("status")

    assert ran.code == 0
    assert ran.out.startswith("WELL; no daemon runs.\n")


def test_one_contract_tells_its_whole_story(synced: Bench):
    synced.source(f"UPDATE contracts SET end_date = '2027-12-31', updated_at = {NOW} WHERE id = 2")
    wrong_secret(synced)
    synced.run("once")
    ran = synced.run("contracts", "show", "2")

    assert ran.code == 0
    lines = ran.out.splitlines()
    assert re.fullmatch(r"erp-2   Globex   pending since \S+ \(attempt \d+ .*\)", lines[0])
    assert [line.split()[0] for line in lines[1:6]] == [
        "id",
        "account",
        "start",
        "end",
        "description",
    ]
    assert lines[4] == "  end          2026-12-31 → 2027-12-31"
    assert re.search(r"  PUT +201  acknowledged: the whole contract$", ran.out, re.MULTILINE)


def test_show_says_why_a_contract_is_unknown(synced: Bench):
    synced.run("once")
    synced.source("INSERT INTO contracts VALUES (99998, 'Late', '2024-01-01', NULL, 'Gold', NULL)")
    unstamped = synced.run("contracts", "show", "99998")
    nowhere = synced.run("contracts", "show", "99999")

    assert (unstamped.code, nowhere.code) == (1, 1)
    assert unstamped.out == (
        "The state does not know 99998. The source has it: its updated_at is NULL, so no poll sees"
        " it; the next reconcile (03:00) will.\n"
    )
    assert nowhere.out.startswith("The state does not know 99999. It is not in the source, either")


def wrong_secret(bench: Bench) -> None:
    """From now on the client is refused, and there is no token left from before."""
    for token in bench.folder.glob("*token*"):
        token.unlink()
    text = bench.config.read_text()
    bench.config.write_text(text.replace('"client_secret": "sandbox"', '"client_secret": "no"'))
