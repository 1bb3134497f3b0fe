"""`plan`: what a run would do."""

from pathlib import Path

from tests.support.commands import installed
from tests.support.sandbox import Sandbox

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


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
