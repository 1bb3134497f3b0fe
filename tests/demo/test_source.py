"""The demo's source: what is in it, and what happens to it."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from cdc_sync.clock import utc_now
from cdc_sync.demo.source import (
    ChangeKind,
    change,
    change_any,
    create_source,
    keep_changing,
    opened,
)
from cdc_sync.errors import CdcSyncError

LATER = datetime(2030, 5, 6, 7, 8, 9, 10, tzinfo=UTC)


def rows_of(path):
    with closing(sqlite3.connect(path)) as source:
        source.row_factory = sqlite3.Row
        return {row["id"]: dict(row) for row in source.execute("SELECT * FROM contracts")}


def bad(row):
    def is_date(text):
        try:
            return text == datetime.strptime(text, "%Y-%m-%d").date().isoformat()
        except ValueError:
            return False

    account = (row["account_name"] or "").strip()
    dates = [row["start_date"] or ""] + ([row["end_date"]] if row["end_date"] else [])
    return not 1 <= len(account) <= 255 or not all(map(is_date, dates))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "new" / "source.db"
    create_source(path, contracts=500, seed=1)
    return path


def made(path, kind, seed=1):
    before = rows_of(path)
    with opened(path) as source:
        done = change(source, kind, Random(seed), lambda: LATER)
    after = rows_of(path)
    assert {key for key in after if before.get(key) != after[key]} == {done.contract_id}
    assert after[done.contract_id]["updated_at"] == "2030-05-06 07:08:09.000010"
    return done.kind, before.get(done.contract_id), after[done.contract_id]


def differs(before, after):
    return {name for name in before if before[name] != after[name]} - {"updated_at"}


def test_a_new_source_has_its_contracts_some_of_them_bad(path):
    rows = rows_of(path).values()

    assert len(rows) == 500
    assert 3 <= sum(map(bad, rows)) <= 25
    assert len({row["account_name"] for row in rows}) > 300
    assert all(row["deleted_at"] is None for row in rows)


def test_the_same_seed_makes_the_same_companies(tmp_path):
    names = []
    for seed in (7, 7, 8):
        path = tmp_path / f"{len(names)}.db"
        create_source(path, contracts=50, seed=seed)
        names.append([row["account_name"] for row in rows_of(path).values()])

    assert names[0] == names[1] != names[2]


def test_times_are_texts_in_utc_that_sort_and_none_is_in_the_future(path):
    stamps = [row["updated_at"] for row in rows_of(path).values()]
    times = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f") for stamp in stamps]

    assert stamps == sorted(stamps)
    assert times[-1].replace(tzinfo=UTC) <= utc_now()


def test_a_source_that_is_there_is_kept(path):
    before = rows_of(path)
    create_source(path, contracts=3, seed=9)

    assert rows_of(path) == before


def test_the_source_is_in_wal_mode_and_indexed_on_its_watermark(path):
    with closing(sqlite3.connect(path)) as source:
        assert source.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        query = "EXPLAIN QUERY PLAN SELECT id FROM contracts WHERE (updated_at, id) > ('2', 1) ORDER BY updated_at, id"
        (plan,) = source.execute(query).fetchall()
    assert "contracts_by_update" in plan[-1]


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "source.db"
    path.write_text("not a database " * 100)

    with pytest.raises(CdcSyncError, match="cannot be used"):
        create_source(path)


def test_a_new_contract_is_good(path):
    kind, before, after = made(path, ChangeKind.NEW)

    assert (kind, before, bad(after)) == (ChangeKind.NEW, None, False)


def test_a_changed_contract_is_renewed_or_on_another_plan(path):
    seen = set()
    for seed in range(20):
        kind, before, after = made(path, ChangeKind.CHANGED, seed)
        assert kind is ChangeKind.CHANGED
        seen.add(frozenset(differs(before, after)))
        if before["end_date"] != after["end_date"]:
            ends = [datetime.fromisoformat(row["end_date"]) for row in (before, after)]
            assert timedelta(364) < ends[1] - ends[0] < timedelta(367)

    assert seen == {frozenset({"end_date"}), frozenset({"plan"})}


def test_a_touched_contract_differs_in_nothing(path):
    kind, before, after = made(path, ChangeKind.TOUCHED)

    assert (kind, differs(before, after)) == (ChangeKind.TOUCHED, set())


def test_a_bad_contract_is_bad_whatever_way_it_was_broken(path):
    for seed in range(30):
        kind, before, after = made(path, ChangeKind.BAD, seed)
        assert (kind, before, bad(after)) == (ChangeKind.BAD, None, True)


def test_correcting_ends_when_no_bad_contract_is_left(path):
    broken = sum(map(bad, rows_of(path).values()))
    for seed in range(broken):
        kind, before, after = made(path, ChangeKind.CORRECTED, seed)
        assert (kind, bad(before), bad(after)) == (ChangeKind.CORRECTED, True, False)

    kind, before, _ = made(path, ChangeKind.CORRECTED)
    assert (kind, before) == (ChangeKind.NEW, None)


def test_an_empty_source_grows(tmp_path):
    path = tmp_path / "empty.db"
    create_source(path, contracts=0)

    assert made(path, ChangeKind.TOUCHED)[0] is ChangeKind.NEW


def test_every_kind_of_change_happens(path):
    chance = Random(1)
    with opened(path) as source:
        kinds = {change_any(source, chance, utc_now).kind for _ in range(200)}

    assert kinds == set(ChangeKind)


def test_a_reader_keeps_its_view_while_changes_go_on(path):
    with opened(path) as source, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        count = reader.execute("SELECT count(*) FROM contracts").fetchone()
        change(source, ChangeKind.NEW, Random(1), utc_now)
        assert reader.execute("SELECT count(*) FROM contracts").fetchone() == count
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM contracts").fetchone() == (count[0] + 1,)


def test_changes_go_on_until_they_are_told_to_stop(path):
    stop, enough, changes = threading.Event(), threading.Event(), []

    def record(done):
        changes.append(done)
        if len(changes) >= 5:
            enough.set()

    changing = threading.Thread(
        target=keep_changing, args=(path, stop, 500), kwargs={"on_change": record}
    )
    changing.start()
    assert enough.wait(20)
    stop.set()
    changing.join(20)

    assert not changing.is_alive()
    newest = max(rows_of(path).values(), key=lambda row: row["updated_at"])
    assert newest["id"] == changes[-1].contract_id
