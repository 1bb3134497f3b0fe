"""A poll reads what changed, whatever the rows are and whoever interferes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.capture.poll import poll
from cdc_sync.errors import SourceUnavailable
from cdc_sync.source.reader import Scan
from cdc_sync.state import watermark
from tests.support.bench import NEVER, Bench
from tests.support.rows import Rows
from tests.support.sandbox import Sandbox


def test_two_rows_with_one_id_do_not_stop_the_others(tmp_path: Path, sandbox: Sandbox):
    query = "SELECT * FROM inner_rows UNION ALL SELECT * FROM inner_rows"
    with Bench(tmp_path, sandbox, source={"table": None, "query": query}) as bench:
        bench.rows = Rows(bench.rows_url, name="inner_rows")
        bench.rows.add({"id": 1, "plan": "old"}, {"id": 2})
        bench.sync_once()
    assert sorted(sandbox.contracts()) == ["erp-1", "erp-2"]
    assert len(sandbox.puts()) == 2


def test_an_id_that_no_page_can_start_after_is_named_and_kills_nothing(bench: Bench):
    bench.rows.execute("DROP TABLE contracts")
    bench.rows.execute(
        "CREATE TABLE contracts AS SELECT CAST(x'4dff' AS TEXT) AS id, 'ACME' AS account_name,"
        " '2024-01-01' AS start_date, NULL AS end_date, 'Gold' AS plan,"
        " '2026-01-01 00:00:00' AS updated_at"
    )
    with bench.open(source={"page_size": 1}), pytest.raises(SourceUnavailable, match="M"):
        bench.poll()


def test_a_long_poll_shows_its_progress_page_by_page(bench: Bench):
    with bench.open(source={"page_size": 10}) as sync:
        bench.poll()
        bench.rows.add(*({"id": n} for n in range(35)))
        seen: list[int] = []
        poll(sync.capture, NEVER, lambda run: seen.append(run.rows))
    assert seen == [10, 20, 30]


def test_a_watermark_that_a_person_moves_during_a_poll_stays_where_it_was_put(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.rows.add(*({"id": n} for n in range(30)))
    put = datetime(2020, 1, 1, tzinfo=UTC)
    read_page = Scan.changed_page
    with bench.open(source={"page_size": 10}) as sync:
        bench.poll()
        bench.rows.touch_all()

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
        bench.poll()
        with sync.state.read() as tx:
            assert watermark.read(tx).value == put
        assert bench.poll().rows == 30
