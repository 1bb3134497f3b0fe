"""What is known of a database that is not known: types, errors and the clock, as drivers give them."""

import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from cdc_sync.config.urls import mask_url
from cdc_sync.errors import SourceMistake, SourceUnavailable
from cdc_sync.source.dialects.base import ColumnKind
from cdc_sync.source.dialects.generic import Generic
from cdc_sync.source.engine import open_source as open_source_at
from tests.support.rows import rows_in
from tests.support.servers import mariadb_database

ROOM = Generic()


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (
            ("INTEGER", "INT64", "BIGINT", "HUGEINT", "DECIMAL(18,4)", "NUMERIC", int, Decimal),
            ColumnKind.NUMBER,
        ),
        (("DOUBLE", "FLOAT64", float), ColumnKind.FLOAT),
        (("DATE", date), ColumnKind.DATE),
        (("TIMESTAMP", "DATETIME", "TIMESTAMP_NS", datetime), ColumnKind.TIME),
        (("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "TIMESTAMP_LTZ"), ColumnKind.TIMESTAMPTZ),
        (("BLOB", "BYTES", "VARBINARY", bytes), ColumnKind.BYTES),
        (
            ("VARCHAR(20)", "STRING", "UUID", "INTERVAL", "BOOLEAN", "TIME", str, bool),
            ColumnKind.OTHER,
        ),
        ((None, 12, "SUPER"), ColumnKind.ANY),
    ],
)
def test_a_type_is_known_by_its_name(codes, kind):
    cursor = SimpleNamespace(description=[("x", code) for code in codes])

    assert set(ROOM.column_kinds(cursor)) == {kind}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Exception("42S02", "no such table"), "`source.table`"),
        (Exception("28000", "login failed"), "`source.url`"),
        (Exception("08001", "no answer"), "`source.url`"),
        (type("ProgrammingError", (Exception,), {})("wrong"), "every column"),
    ],
)
def test_an_error_is_known_by_its_sqlstate_or_its_class(error, says):
    assert says in ROOM.error_meaning(error).hint


@pytest.mark.parametrize(
    ("url", "driver", "command"),
    [
        ("mssql+pyodbc://reader@db.example.com/erp", "pyodbc", "pip install 'cdc-sync[mssql]'"),
        ("oracle+oracledb://reader@db.example.com/", "oracledb", "pip install 'cdc-sync[oracle]'"),
        ("mysql+pymysql://reader@db.example.com/erp", "pymysql", "pip install 'cdc-sync[mysql]'"),
    ],
)
def test_a_driver_that_is_missing_is_named_with_its_extra(monkeypatch, url, driver, command):
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(SourceUnavailable, match="is not installed") as raised:
        open_source_at(url)

    assert command in raised.value.hint


def test_any_other_error_is_shown_as_it_is():
    assert ROOM.error_meaning(Exception("no memory")) is None
    assert ROOM.error_message(Exception("no\n  memory")) == "no memory"


@pytest.mark.parametrize("offset", ["-08:00", "+00:00", "+05:45"])
def test_a_clock_without_zone_is_read_by_ours(mariadb, offset):
    with mariadb_database() as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET time_zone = '{offset}'")
            clock = ROOM.clock(connection)

    assert abs(clock - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_zone_of_times_without_one_has_to_be_set(tmp_path, open_source):
    with rows_in(f"duckdb:///{tmp_path / 'erp.duckdb'}") as rows:
        source = open_source(rows.url, time_zone=None)
        with (
            pytest.raises(SourceMistake, match="does not tell its time zone") as raised,
            source.scan(),
        ):
            pass

    assert "source.time_zone" in raised.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "databricks://token:hush@db.example.com/?http_path=x",
        "snowflake://reader@account/erp?private_key=hush",
        "mssql+pyodbc://?odbc_connect=DRIVER%3Dx%3BPWD%3Dhush",
        "mssql+pyodbc://db.example.com/erp?PWD=hush",
    ],
)
def test_a_secret_in_such_a_url_is_masked(url):
    assert "hush" not in mask_url(url)
