"""`check` notices a configuration that is valid and wrong: the reason, and how to correct it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.bench import Bench
from tests.support.rows import INSTANT, LONG_AGO, rows_in
from tests.support.sandbox import Sandbox


def findings(bench: Bench) -> dict[str, dict[str, Any]]:
    """By name; of several of one name the first."""
    found: dict[str, dict[str, Any]] = {}
    for one in bench.run("check", "--json").document["findings"]:
        assert sorted(one) == ["mend", "name", "ok", "says"]
        found.setdefault(one["name"], one)
    return found


def test_ids_that_are_not_unique_are_wrong(source_url: str, tmp_path: Path, sandbox: Sandbox):
    composite = [
        sa.Column("company", sa.String(20), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    ]
    bench = Bench(tmp_path, sandbox, source_url)
    with rows_in(source_url, *composite) as rows:
        rows.add({"id": 17, "company": "a"}, {"id": 17, "company": "b"})
        found = findings(bench)["id"]
        bench.configure(source={"id": ["company", "id"]})
        mended = findings(bench)

    assert (found["ok"], "not unique: several rows have 17" in found["says"]) == (False, True)
    assert "id, company" in found["mend"] or "company, id" in found["mend"]
    assert "id" not in mended


def test_numbers_and_texts_that_are_one_contract_are_found_on_sqlite(
    tmp_path: Path, sandbox: Sandbox
):
    bench = Bench(tmp_path, sandbox)
    bench.source(
        "CREATE TABLE contracts (id PRIMARY KEY, account_name, start_date, end_date, plan, updated_at)",
        "INSERT INTO contracts VALUES (17, 'ACME', '2024-01-01', NULL, 'Gold', '2026-01-01 12:00:00')",
        "INSERT INTO contracts VALUES ('17', 'ACME', '2024-01-01', NULL, 'Gold', '2026-01-01 12:00:01')",
    )

    assert "several rows have 17 as their id" in findings(bench)["id"]["says"]


def test_columns_that_are_swapped_are_wrong(source_url: str, tmp_path: Path, sandbox: Sandbox):
    swapped = {"start": "end_date", "end": "start_date"}
    bench = Bench(tmp_path, sandbox, source_url, mapping=swapped)
    with rows_in(source_url) as rows:
        ends = datetime(2030, 1, 1).date()
        rows.add(*({"id": number, "end_date": ends} for number in range(5)))
        found = findings(bench)["dates"]
        code = bench.run("check").code

    assert (found["ok"], code) == (False, 1)
    assert "end is before start in 5 of 5 rows" in found["says"]
    assert found["mend"] == "Swap `mapping.start` and `mapping.end`."


def test_a_watermark_that_no_change_moves_is_noticed(
    source_url: str, tmp_path: Path, sandbox: Sandbox
):
    bench = Bench(tmp_path, sandbox, source_url, source={"watermark": "id"})
    with rows_in(source_url) as rows:
        rows.add({"id": 1})
        found = findings(bench)["watermark"]
        bench.configure(source={"watermark": "updated_at"})
        rows.remove(1)
        stamp = datetime(2026, 1, 1, tzinfo=UTC)
        rows.add(*({"id": number, "updated_at": stamp} for number in range(12)))
        same = findings(bench)["watermark"]

    assert "id is `source.id`, too" in found["says"]
    assert "is the same in all 12 rows" in same["says"]


def test_null_watermarks_are_reported_with_their_share(
    source_url: str, tmp_path: Path, sandbox: Sandbox
):
    bench = Bench(tmp_path, sandbox, source_url)
    with rows_in(source_url) as rows:
        rows.add({"id": 1}, {"id": 2}, {"id": 3})
        rows.change_unstamped(1, updated_at=None)
        some = findings(bench)["watermark"]
        rows.execute("UPDATE contracts SET updated_at = NULL")
        every = findings(bench)["watermark"]

    assert (some["ok"], "NULL in 1 row (33.33%)" in some["says"]) == (True, True)
    assert (every["ok"], "NULL in 3 rows (100.00%)" in every["says"]) == (False, True)


def test_a_local_time_that_is_ahead_of_the_clock_is_another_zone(
    source_url: str, tmp_path: Path, sandbox: Sandbox
):
    naive = sa.Column("updated_at", sa.DateTime())
    bench = Bench(tmp_path, sandbox, source_url)
    with rows_in(source_url, naive) as rows:
        local = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=2)
        rows.add({"id": 1, "updated_at": local})
        found = findings(bench)["time zone"]

    assert "2.0 h ahead of the source's clock" in found["says"]
    assert "`source.time_zone`" in found["mend"]


def test_stamps_in_the_far_future_are_out_of_range(
    source_url: str, tmp_path: Path, sandbox: Sandbox
):
    bench = Bench(tmp_path, sandbox, source_url)
    with rows_in(source_url, sa.Column("updated_at", INSTANT)) as rows:
        rows.add({"id": 1, "updated_at": datetime(2090, 1, 1, tzinfo=UTC)})
        found = findings(bench)["watermark"]

    assert "updated_at of 1 row lies in the future (the newest: 2090-01-01" in found["says"]


def test_a_stamp_that_no_calendar_has_is_reported(
    postgresql_url: str, tmp_path: Path, sandbox: Sandbox
):
    bench = Bench(tmp_path, sandbox, postgresql_url)
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1, "updated_at": LONG_AGO}, {"id": 2, "updated_at": LONG_AGO})
        rows.execute("UPDATE contracts SET updated_at = 'infinity' WHERE id = 2")
        found = findings(bench)["watermark"]

    assert "updated_at of 1 row lies in the future (the newest: beyond year 9999)" in found["says"]


def test_a_text_watermark_that_holds_no_times_is_reported(fresh: Bench):
    text = fresh.config.read_text()
    fresh.config.write_text(text.replace('"watermark": "updated_at"', '"watermark": "plan"'))
    ran = fresh.run("once")

    assert ran.code == 2
    assert ran.err == (
        "cdc-sync: The column plan holds texts, and none is a time (2026-01-31 12:00:00)."
        " Name one in `source.watermark` that grows with every change.\n"
    )
    assert findings(fresh)["source"]["ok"] is False


def test_a_few_texts_that_are_no_times_do_not_stop_a_sync(fresh: Bench, sandbox: Sandbox):
    fresh.source(
        "INSERT INTO contracts VALUES (8, 'A', '2024-01-01', NULL, '', '')",
        "INSERT INTO contracts VALUES (9, 'Z', '2024-01-01', NULL, '', 'unknown')",
    )

    assert fresh.run("once").out.startswith("5 created.")


@pytest.mark.parametrize(
    ("address", "why", "mend"),
    [
        ("http://127.0.0.1:1", "connection refused", "may reach it"),
        ("https://no-such-host.invalid", "no such host", "DNS"),
        ("https://a..b", "not an address", "customergauge"),
    ],
)
def test_a_platform_that_cannot_be_reached_is_reported_with_the_reason(
    fresh: Bench, sandbox: Sandbox, address: str, why: str, mend: str
):
    text = fresh.config.read_text()
    fresh.config.write_text(text.replace(sandbox.url, address))
    found = findings(fresh)

    for name in ("token", "API"):
        assert found[name]["ok"] is False
        assert f"cannot be reached ({why})" in found[name]["says"]
        assert mend in found[name]["mend"]


@pytest.mark.parametrize(
    ("listen", "token", "is_noted"),
    [
        ("0.0.0.0:8787", "fifteen-letters", True),
        ("0.0.0.0:8787", "sixteen-letters-", False),
        ("127.0.0.1:8787", "short", False),
        ("none", "short", False),
    ],
)
def test_a_short_token_is_noted_where_others_reach_the_page(
    tmp_path: Path, sandbox: Sandbox, listen: str, token: str, is_noted: bool
):
    bench = Bench.with_contracts(tmp_path, sandbox, web={"listen": listen, "token": token})

    assert ("page" in findings(bench)) == is_noted


def test_an_alert_url_that_cannot_be_used_is_found(tmp_path: Path, sandbox: Sandbox) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, alerts={"urls": ["nowhere://x"]})
    found = {one["name"]: one for one in bench.run("check", "--json").document["findings"]}

    assert not found["alerts"]["ok"]
    assert "Apprise cannot read this URL" in found["alerts"]["mend"]


def test_stamps_in_two_forms_are_named(fresh: Bench) -> None:
    fresh.source("UPDATE contracts SET updated_at = '2026-01-02T12:00:00' WHERE id = 2")

    assert "updated_at is written in 2 forms: 2026-01-01 12:00:00, 2026-01-02T12" in (
        fresh.run("check").out
    )


def test_the_index_that_is_advised_has_names_that_are_quoted(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    bench = Bench.with_contracts(tmp_path, sandbox, source={"table": "my contracts"})
    bench.source('ALTER TABLE contracts RENAME TO "my contracts"')

    assert "ON `my contracts` (updated_at, id);" in bench.run("check").out


@pytest.mark.parametrize("hour", [0, 9])
def test_a_column_of_times_that_holds_whole_days_is_told(bench: Bench, hour: int):
    bench.rows.add(*({"id": n, "updated_at": datetime(2026, 1, n, hour)} for n in range(1, 15)))

    found = findings(bench)

    told = "updated_at seems to hold whole days" in found.get("watermark", {}).get("says", "")
    assert told is (hour == 0)
