"""What a scan does not see by itself is noticed by another way: by a count, by look-ups, by order."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from cdc_sync.capture.reconcile import RowCount, recheck_held
from cdc_sync.errors import SourceMistake
from cdc_sync.operations import actions
from cdc_sync.operations.status import find_troubles, read_status
from cdc_sync.source.reader import Scan
from tests.support.bench import NEVER, Bench
from tests.support.rows import Rows
from tests.support.sandbox import Sandbox


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("source_url", ["mariadb"], indirect=True)
def test_rows_that_paging_leaves_out_are_unexplained(
    tmp_path: Path, sandbox: Sandbox, source_url: str
):
    """MariaDB orders an ENUM by its ordinal and compares it as a text."""
    source = {"id": ["region", "id"], "page_size": 3}
    with Bench(tmp_path, sandbox, source_url, source=source) as bench:
        region = sa.Column("region", mysql.ENUM("us", "eu"), primary_key=True)
        bench.rows = Rows(source_url, region)
        bench.rows.add(*({"region": name, "id": n} for name in ("us", "eu") for n in range(6)))
        try:
            bench.reconcile()
        except SourceMistake as error:
            assert "orders its rows by the key otherwise" in error.message  # noqa: PT017
            return
        document = read_status(bench.sync.state, bench.sync.capture.now())
        assert len(bench.column("source_id")) == 12 or any(
            trouble.key == "unexplained" for trouble in find_troubles(document, bench.sync.config)
        )


def test_ids_that_are_not_found_again_end_no_contract(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.configure(deletes={"policy": "end"}, guard={"max_changes": "10%", "min_contracts": 10})
    bench.rows.add(*({"id": number} for number in range(50)))
    with bench.open() as sync:
        bench.poll()
        bench.deliver()
        bench.rows.remove(*range(40))
        bench.reconcile()  # the guard holds it
        monkeypatch.setattr(Scan, "existing", lambda _scan, _ids: [])  # as for a key of bytes
        with pytest.raises(SourceMistake, match="not found by their id"):
            recheck_held(sync.capture, NEVER)
        actions.resume(sync.state, sync.capture.now())
        bench.deliver()

    assert not any("end" in put.body and put.body["end"] for put in bench.sandbox.puts()[50:])


@pytest.mark.quick
@pytest.mark.parametrize(
    ("before", "after", "recent", "met", "unexplained"),
    [
        (100, 100, 0, 100, 0),
        (100, 100, 0, 50, 50),
        (100, 100, 0, 120, 20),
        (100, 110, 0, 104, 0),
        (100, 110, 12, 95, 0),  # rows that came behind the scan
        (1000, 1010, 12, 500, 500),
    ],
)
def test_the_sources_own_count_explains_what_came_and_went(
    before: int, after: int, recent: int, met: int, unexplained: int
):
    counted = RowCount(before, 0, None)

    assert counted.unexplained(RowCount(after, recent, None), met) == unexplained
