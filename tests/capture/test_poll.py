"""A poll reads what changed, whatever the rows are and whoever interferes."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.capture.poll import poll
from cdc_sync.errors import SourceUnavailable
from cdc_sync.source.reader import Scan
from cdc_sync.state import watermark
from tests.support.rows import rows_in
from tests.support.sandbox import Sandbox
from tests.support.there import There

STILL = threading.Event()


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


def test_a_long_poll_shows_its_progress_page_by_page(there: There):
    with there.open(source={"page_size": 10}) as sync:
        poll(sync.capture, STILL)
        there.rows.add(*({"id": n} for n in range(35)))
        seen: list[int] = []
        poll(sync.capture, STILL, lambda run: seen.append(run.rows))
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
