"""What every database must do alike; `source_url` has a server of each.

Pages in both orders, keys, quoting, the watermark's types, the clock, the horizon and the errors.
"""

import re
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, oracle

from cdc_sync.contract import printable
from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import CarryOver, WatermarkType
from cdc_sync.source.horizon import read_horizon
from cdc_sync.source.inspection import count_facts
from cdc_sync.source.reader import Source
from tests.support.rows import FIREBIRD, rows_in
from tests.support.servers import GIVEN, SOURCES, scratch_database, source_database

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(params=[*SOURCES, "duckdb", *GIVEN])
def source_url(request, tmp_path):
    """A fresh, empty source database of each kind, and those that the environment names."""
    if request.param in GIVEN:
        with scratch_database(GIVEN[request.param]) as url:
            yield url
    else:
        with source_database(request, tmp_path) as url:
            yield url


@pytest.fixture
def rows(source_url):
    with rows_in(source_url) as made:
        yield made


def full(source: Source, pages: int = 100) -> list[str]:
    return [row.source_id for row in read(source, pages=pages)]


def changed(source: Source, start=LONG_AGO) -> list[str]:
    return [row.source_id for row in read(source, start=start)]


def read(source: Source, start=None, pages: int = 100):
    found, after = [], None
    with source.scan() as scan:
        for _ in range(pages):
            page = scan.full_page(after) if start is None else scan.changed_page(start, after)
            found += page.rows
            after = page.next
            if after is None:
                return found
    pytest.fail("the pages did not end")


def test_a_full_scan_gives_every_row_in_order_of_its_id(rows, open_source):
    rows.add({"id": 3}, {"id": 1}, {"id": 2, "updated_at": None})

    assert full(open_source(rows.url)) == ["1", "2", "3"]


def test_a_poll_gives_what_changed_from_the_watermark_on_in_that_order(rows, open_source):
    rows.add(*({"id": n, "updated_at": NOON - timedelta(hours=n)} for n in range(5)))

    assert changed(open_source(rows.url), NOON - timedelta(hours=2)) == ["2", "1", "0"]


def test_a_null_watermark_is_seen_by_full_scans_alone(rows, open_source):
    rows.add({"id": 1}, {"id": 2, "updated_at": None})
    source = open_source(rows.url)

    assert (full(source), changed(source)) == (["1", "2"], ["1"])
    with source.scan() as scan:
        assert count_facts(scan, NOON).null_watermarks == 1


@pytest.mark.parametrize("page_size", [1, 2, 7, 25, 1000])
def test_pages_over_many_equal_instants_miss_and_repeat_nothing(rows, open_source, page_size):
    rows.add(*({"id": n, "updated_at": NOON + timedelta(seconds=n // 20)} for n in range(50)))
    source = open_source(rows.url, page_size=page_size)

    assert changed(source) == full(source) == [str(n) for n in range(50)]


def test_a_query_is_read_like_a_table(rows, open_source):
    rows.add({"id": 1}, {"id": 2, "account_name": "10:30"}, {"id": 3, "account_name": "50%"})
    query = (
        "SELECT id AS contract_no, account_name AS name, updated_at FROM contracts"
        " WHERE account_name <> '10:30' AND account_name LIKE '%' -- all others\n ;"
    )
    source = open_source(rows.url, ("name",), query=query, id="contract_no", where="name <> ':x'")

    assert full(source) == changed(source) == ["1", "3"]


def test_a_condition_may_hold_colons_percent_signs_and_comments(rows, open_source):
    rows.add({"id": 1, "account_name": "10:30 :x 5%"}, {"id": 2, "account_name": "10:31"})
    source = open_source(rows.url, where="account_name LIKE '%10:30 :x 5%%' -- who: me")

    assert full(source) == changed(source) == ["1"]


def test_a_row_counts_as_gone_when_the_condition_holds_and_not_when_it_is_null(rows, open_source):
    rows.add({"id": 1, "account_name": "x:%"}, {"id": 2}, {"id": 3, "account_name": None})
    source = open_source(rows.url, deleted_when="account_name LIKE 'x:%'")

    assert [row.gone for row in read(source)] == [True, False, False]


def test_an_id_may_have_several_columns(source_url, open_source):
    country = sa.Column("country", sa.String(2), primary_key=True)
    with rows_in(source_url, country) as rows:
        rows.add(*({"id": n, "country": c} for n in (1, 2) for c in ("DE", "AT")))
        source = open_source(rows.url, id=["country", "id"], page_size=1)

        expected = ['["AT",1]', '["AT",2]', '["DE",1]', '["DE",2]']
        assert full(source) == expected
        assert sorted(changed(source)) == expected
        with source.scan() as scan:
            found = scan.existing([*expected[1:], '["FR",1]', "nonsense"])
        assert sorted(row.source_id for row in found) == expected[1:]


def test_rows_with_a_null_in_their_id_are_left_out_and_counted(rows, open_source):
    rows.add({"id": 1}, {"id": 2, "plan": None}, {"id": 3, "plan": "x"})
    source = open_source(rows.url, id=["plan", "id"], page_size=1, where="id > 1")

    assert full(source) == changed(source) == ['["x",3]']
    with source.scan() as scan:
        assert scan.count_null_ids() == 1


def test_rows_can_be_asked_for_by_their_ids_however_many(rows, open_source):
    rows.add(*({"id": n} for n in range(1500)))
    source = open_source(rows.url, where="id <> 7")

    with source.scan() as scan:
        asked = [
            *map(str, range(1, 2000)),
            "nonsense-is-no-number" if "sqlite" in rows.url else "0",
        ]
        found = {row.source_id for row in scan.existing(asked)}
        assert found - {"0"} == {str(n) for n in range(1, 1500)} - {"7"}
        assert scan.find("7")[2] is False
        assert scan.find("8")[2] is True
        assert scan.find("5000") is None
        assert scan.find("erp-8") is None, "of a number, too, one may ask by a reference"
        assert scan.find("99999999999999999999") is None
        assert scan.find("8")[2] is True, "and the connection goes on"


@pytest.mark.parametrize("row_id", ["17", "007", "9" * 30, "a'b", "é", "a:b %s"])
def test_an_id_may_be_any_text(source_url, open_source, row_id):
    with rows_in(source_url, sa.Column("id", sa.String(60), primary_key=True)) as rows:
        rows.add({"id": "!"}, {"id": row_id})
        source = open_source(rows.url, page_size=1)

        assert full(source) == changed(source) == ["!", row_id]
        with source.scan() as scan:
            assert [row.source_id for row in scan.existing([row_id])] == [row_id]


KEYS = {
    "integer": (sa.BigInteger(), [-5, 3, 2**40]),
    "decimal": (sa.Numeric(12, 2), [Decimal("-1.50"), Decimal("2.25"), Decimal("10.00")]),
    "text": (sa.String(40), ["A-1", "a-2", "b'3"]),
    "date": (sa.Date(), [date(2024, 1, 31), date(2024, 2, 1), date(2026, 12, 31)]),
}


@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_any_type_is_paged_and_looked_up(source_url, open_source, kind, page_size):
    type_, keys = KEYS[kind]
    if kind == "decimal" and source_url.startswith("sqlite"):
        pytest.skip("SQLite has no decimals")
    with rows_in(source_url, sa.Column("id", type_, primary_key=True, autoincrement=False)) as rows:
        rows.add(*({"id": key, "updated_at": NOON} for key in keys))
        source = open_source(rows.url, page_size=page_size)

        midnight = "T00:00:00" if kind == "date" and source_url.startswith("oracle") else ""
        expected = [printable(key) + midnight for key in keys]
        assert full(source) == changed(source) == expected
        with source.scan() as scan:
            assert sorted(row.source_id for row in scan.existing(expected)) == sorted(expected)


@pytest.mark.parametrize(
    "name", ["order", "two words", "Plan 2", "per%cent", "co:lon", "a`b", 'a"b']
)
def test_a_column_may_have_any_name(source_url, open_source, name):
    if '"' in name and source_url.startswith("oracle"):
        pytest.skip("Oracle allows no quotes in names")
    column = sa.Column(name, sa.String(20))
    with rows_in(source_url, column) as rows:
        rows.add({"id": 1, name: "x"}, {"id": 2, name: "y"})
        source = open_source(rows.url, (name,), id=["id", name], page_size=1)

        assert [row.values for row in read(source)] == [("x",), ("y",)]
        assert changed(source) == ['[1,"x"]', '[2,"y"]']


def test_the_clock_is_an_instant_of_now(rows, open_source):
    with open_source(rows.url).scan() as scan:
        clock = scan.dialect.clock(scan.connection)

    assert clock.utcoffset() == timedelta()
    assert abs(clock - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_horizon_sees_an_open_transaction_or_says_that_it_cannot(rows, open_source):
    rows.add({"id": 1})
    began = datetime.now(UTC)
    with rows.begin() as writer:
        writer.exec_driver_sql("UPDATE contracts SET account_name = 'late' WHERE id = 1")
        with open_source(rows.url, clock_margin="2s", lookback="1h").scan() as scan:
            horizon = read_horizon(scan, CarryOver(), datetime.now(UTC))

    assert horizon.value < began
    assert (horizon.basis == "horizon") == (horizon.reason is None)


def test_a_page_ends_where_its_last_row_stands(rows, open_source):
    rows.add({"id": 1, "updated_at": NOON}, {"id": 2, "updated_at": NOON + timedelta(hours=1)})

    with open_source(rows.url, page_size=1).scan() as scan:
        page = scan.changed_page(LONG_AGO, None)
        assert page.end == NOON
        assert scan.changed_page(LONG_AGO, page.next).end == NOON + timedelta(hours=1)
        assert scan.count_from(None) == 2
        assert scan.count_from(NOON + timedelta(minutes=1)) == 1


def test_a_whole_number_can_be_the_watermark(source_url, open_source):
    with rows_in(source_url, sa.Column("updated_at", sa.BigInteger)) as rows:
        rows.add(*({"id": n, "updated_at": n % 3} for n in range(9)))
        source = open_source(rows.url, page_size=2, lookback=1)

        assert changed(source, 1) == ["1", "4", "7", "2", "5", "8"]
        with source.scan() as scan:
            assert scan.column.type is WatermarkType.INTEGER
            horizon = read_horizon(scan, CarryOver(), datetime.now(UTC))
        # The number is for where no horizon can be had: SQLite.
        assert (horizon.basis, horizon.value) in [("horizon", None), ("lookback", 1)]


def test_a_number_that_the_database_gives_out_has_an_exact_horizon(source_url, open_source):
    if not source_url.startswith("mssql"):
        pytest.skip("only SQL Server gives out numbers by itself")
    with rows_in(source_url, sa.Column("updated_at", mssql.ROWVERSION(), nullable=True)) as rows:
        insert = "INSERT INTO contracts (id, account_name) VALUES ({}, 'ACME')".format
        rows.execute(insert(1))
        source = open_source(source_url)
        with rows.begin() as writer:
            writer.exec_driver_sql(insert(2))
            rows.execute(insert(3))
            with source.scan() as scan:
                assert scan.column.type is WatermarkType.INTEGER
                before = read_horizon(scan, CarryOver(), datetime.now(UTC))
        assert before.basis == "horizon"
        assert changed(source, before.value) == ["2", "3"]
        with source.scan() as scan:
            after = read_horizon(scan, CarryOver(), datetime.now(UTC))
        assert changed(source, after.value) == []


def test_a_fraction_is_no_watermark(source_url, open_source):
    fraction = sa.Double().with_variant(oracle.BINARY_DOUBLE(), "oracle")
    fraction = fraction.with_variant(sa.Float(), FIREBIRD)
    with rows_in(source_url, sa.Column("updated_at", fraction)) as rows:
        rows.add({"id": 1, "updated_at": 1.5})
        with pytest.raises(SourceMistake, match="updated_at holds"):
            changed(open_source(rows.url))


def test_a_day_can_be_the_watermark(source_url, open_source):
    if source_url.startswith("oracle"):
        pytest.skip("an Oracle DATE has a time of day")
    with rows_in(source_url, sa.Column("updated_at", sa.Date)) as rows:
        rows.add(*({"id": n, "updated_at": date(2026, 7, n)} for n in range(1, 5)))
        source = open_source(rows.url, page_size=1, time_zone="Europe/Berlin")

        assert changed(source, datetime(2026, 7, 2, 23, tzinfo=UTC)) == ["3", "4"]


def test_a_time_without_zone_is_in_the_zone_that_is_configured(source_url, open_source):
    naive = sa.Column("updated_at", sa.DateTime)
    with rows_in(source_url, naive) as rows:
        walls = [datetime(2026, 10, 25, h, m) for h, m in ((1, 59), (2, 0), (2, 30), (3, 0))]
        rows.add(*({"id": n, "updated_at": wall} for n, wall in enumerate(walls)))
        source = open_source(rows.url, time_zone="Europe/Berlin", page_size=1)

        in_the_second_pass = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
        assert changed(source, in_the_second_pass) == ["1", "2", "3"]
        assert changed(source, datetime(2026, 10, 25, 2, tzinfo=UTC)) == ["3"]
        with source.scan() as scan:
            after_it = datetime(2026, 10, 25, 2, tzinfo=UTC)
            assert scan.changed_page(after_it, None).end == after_it


def test_each_dialect_changes_nothing_and_says_which_server_answers(rows, open_source):
    rows.add({"id": 1})
    source = open_source(rows.url)
    with source.scan() as scan:
        name = scan.dialect.server_name(scan.connection)
        is_known = scan.dialect.has_autocommit
        if scan.dialect.is_read_only or not is_known:  # else its user has to be
            with pytest.raises(sa.exc.DBAPIError) if is_known else nullcontext():
                scan.connection.exec_driver_sql("DELETE FROM contracts")

    assert full(source) == ["1"]
    assert re.fullmatch(r"[A-Z][\w ]+ \d+\.\d+" if is_known else r"\w+", name)


@pytest.mark.parametrize(
    "config",
    [
        {"table": "nowhere"},
        {"id": "missing"},
        {"watermark": "missing"},
        {"where": "missing = 1"},
        {"where": "(("},
        {"deleted_when": "missing = 1"},
        {"columns": ("missing",)},
        {"query": "SELEKT 1"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_what_is_not_there_is_the_configurations_mistake(rows, open_source, config):
    rows.add({"id": 1})
    with pytest.raises(SourceMistake) as raised:
        full(open_source(rows.url, **config))

    assert raised.value.hint
    assert raised.value.message.count("\n") == 0


def test_a_column_that_vanishes_fails_the_poll_and_works_again(rows, open_source):
    rows.add({"id": 1})
    source = open_source(rows.url)
    assert full(source) == ["1"]

    rows.rename_column("account_name", "name")
    with pytest.raises(SourceMistake, match=r"(?i)account_name"):
        full(source)
    rows.rename_column("name", "account_name")
    assert full(source) == ["1"]
