"""A state that the first version wrote opens in this one, and everything in it goes on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cdc_sync.operations.status import KINDS
from cdc_sync.state.tables import REVISION
from tests.support.bench import Bench
from tests.support.sandbox import Sandbox

DUMP = (Path(__file__).parent / "first_version.sql").read_text()
ROWS = """
    (1, 'ACME', '2026-12-31', 'Gold'), (2, 'Globex', '2026-12-31', 'Gold'),
    (3, 'Initech', NULL, 'Basic'), (4, '', '2026-12-31', 'Gold'),
    (5, 'ACME', '2020-01-01', 'Silver'), (6, 'Umbrella', '2026-12-31', 'Gold'),
    (8, 'ACME', '2026-12-31', 'Gold'), (9, 'ACME', '2026-12-31', 'Gold'),
    (10, 'Globex', '2026-12-31', 'Gold'), (11, 'Globex', '2026-12-31', 'Gold')
"""
COUNTS = {
    "pending": 4,
    "synced": 2,
    "rejected": 2,
    "accepted": 0,
    "waiting": 1,
    "held": 1,
    "gone": 1,
}


@pytest.fixture
def first(tmp_path: Path, sandbox: Sandbox) -> Bench:
    """The state with the source and the configuration that it was made with."""
    bench = Bench(tmp_path, sandbox)
    with closing(sqlite3.connect(tmp_path / "state.db")) as state:
        state.executescript(DUMP)
    bench.source(
        "CREATE TABLE contracts (id INTEGER PRIMARY KEY, account_name TEXT, start_date TEXT,"
        " end_date TEXT, plan TEXT, updated_at TEXT)",
        "INSERT INTO contracts SELECT column1, column2, '2024-01-01', column3, column4,"
        f" '2026-11-24 12:12:00.000' FROM (VALUES {ROWS})",
    )
    return bench


@pytest.fixture
def adopted(first: Bench) -> Bench:
    """The same, of the sandbox that a test has started."""
    assert first.run("db", "adopt", "--yes").code == 0
    return first


def test_it_is_upgraded_after_a_copy(first: Bench) -> None:
    before = first.run("db", "current", "--json").document
    ran = first.run("db", "upgrade")
    copy = first.config.with_name("state.db.before-0001")

    assert before == {"current": "0001", "newest": REVISION}
    assert ran.out == f"Upgraded from 0001 to revision {REVISION}.\n"
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert kept.execute("SELECT count(*) FROM contract").fetchone() == (11,)


def test_its_tables_are_then_those_of_a_new_one(first: Bench, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = Bench(tmp_path / "new", first.sandbox)
    tables = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"

    assert (first.run("db", "upgrade").code, new.run("db", "upgrade").code) == (0, 0)
    assert first.state(tables) == new.state(tables)


def test_what_it_knew_is_known(first: Bench) -> None:
    status = first.run("status", "--json").document
    mark = first.run("watermark", "show", "--json").document
    (move,) = first.run("watermark", "history", "--json").document["moves"]
    story = first.run("contracts", "show", "erp-1", "--json").document

    assert status["contracts"] == COUNTS
    assert status["totals"] == dict.fromkeys(KINDS, 0) | {"created": 5, "retried": 2, "rejected": 1}
    assert status["last_poll"]["finished"] == "2026-11-24T12:12:57.986964Z"
    assert status["last_reconcile"]["started"] == "2026-11-24T12:11:53.019580Z"
    assert status["last_delivery"] == {"at": "2026-11-24T12:12:28.942882Z", "status": None}
    assert (status["balance"]["rows"], status["balance"]["synced"]) == (6, 4)
    assert (status["api"]["state"], status["paused"]) == ("ok", False)
    assert status["watermark"]["read_to"] == "2026-11-24T12:12:56.969000Z"
    assert (mark["value"], mark["version"]) == ("2026-11-24T12:12:56.969000Z", 7)
    assert (move["who"], move["kind"]) == ("anna@ops1", "rewind")
    assert [one["http_status"] for one in story["history"]] == [201]


def test_it_belongs_to_whom_it_belonged(first: Bench, sandbox: Sandbox) -> None:
    ran = first.run("once")

    assert ran.code == 2
    assert "belongs to http://127.0.0.1:8080 (client sandbox)" in ran.err
    assert sandbox.puts() == []


def test_polls_and_delivery_go_on(adopted: Bench, sandbox: Sandbox) -> None:
    adopted.source(
        "UPDATE contracts SET plan = 'Silver',"
        " updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = 1"
    )
    report = adopted.run("once", "--json").document
    sent = {name: one["description"] for name, one in sandbox.contracts().items()}

    gold = dict.fromkeys(("erp-6", "erp-9", "erp-10", "erp-11"), "Gold")
    assert sent == gold | {"erp-1": "Silver", "erp-5": "Silver"}
    assert (report["left"], report["held"], report["rejected"]) == (0, 1, 2)
    assert len(sandbox.puts()) == len(sent)


def test_what_was_held_and_refused_can_be_let_go(adopted: Bench, sandbox: Sandbox) -> None:
    released = adopted.run("approve", "--yes", "--json").document
    retried = adopted.run("retry", "8", "--json").document
    adopted.run("once")

    assert (released, retried) == ({"released": 1, "held": 0}, {"retried": 1})
    assert {"erp-3", "erp-8"} <= set(sandbox.contracts())
