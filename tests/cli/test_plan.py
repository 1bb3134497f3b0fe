"""`plan`: what a run would do."""

from datetime import timedelta
from pathlib import Path

from cdc_sync.clock import utc_now
from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox


def test_a_plan_counts_gone_rows_as_gone_alone_and_counts_what_waits(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, source={"deleted_when": "plan = 'Gone'"})
    bench.sync_once()
    sandbox.strike("status=503")
    bench.source(
        "UPDATE contracts SET plan = 'Gone' WHERE id = 3",
        f"UPDATE contracts SET plan = 'Silver', updated_at = {NOW} WHERE id = 1",
    )
    bench.run("once")
    in_five_minutes = f"{utc_now() + timedelta(minutes=5):%F %T.%f}"
    bench.state(f"UPDATE contract SET next_attempt_at = '{in_five_minutes}' WHERE source_id = '1'")
    full, words = bench.run("plan", "--full", "--json").document, bench.run("plan").out

    assert (full["rows"], full["unchanged"], full["gone"]) == (4, 3, 1)
    assert "1 more waits for its next try: cdc-sync contracts list --status pending" in words


def test_a_full_plan_counts_what_stays_rejected(synced: Bench):
    said = synced.run("plan", "--full").out
    synced.source(f"UPDATE contracts SET account_name = 'ACME', updated_at = {NOW} WHERE id = 4")

    assert "1 row is rejected as before: cdc-sync contracts list --status rejected" in said
    assert "rejected as before" not in synced.run("plan", "--full").out
