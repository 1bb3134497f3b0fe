"""SQL Server as far as it can be told without one: its statements, values, errors and advice.

Errors are as Microsoft's ODBC driver 18 writes them. With CDC_SYNC_TEST_MSSQL_URL the conformance
suite runs against a server.
"""

import sqlite3
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql as types
from sqlalchemy.dialects.mssql.pyodbc import MSDialect_pyodbc
from sqlalchemy.engine import make_url

from cdc_sync.config.model import SourceConfig
from cdc_sync.setup.guess import propose
from cdc_sync.source.dialects import dialect_of
from cdc_sync.source.dialects.base import ColumnKind, DeclaredType
from cdc_sync.source.dialects.mssql import MSSQL
from cdc_sync.source.inspection import CatalogColumn, CatalogTable
from cdc_sync.source.statements import Statements, describe_rows

ROOM = MSSQL()
CONFIG = SourceConfig.model_validate(
    {
        "url": "mssql://reader@db.example.com/erp",
        "table": "erp.contracts",
        "id": ["country", "id"],
        "watermark": "updated_at",
        "where": "plan <> 'none'",
    }
)


def compiled(statement: Any) -> str:
    """The text of a statement, to be read easily: without the brackets of its names."""
    dialect = MSDialect_pyodbc(paramstyle="qmark")
    dialect.server_version_info = (16, 0)
    dialect._setup_version_attributes()
    text = " ".join(str(statement.compile(dialect=dialect)).split())
    assert "[updated_at]" in text
    return text.replace("[", "").replace("]", "")


def statements(watermark_type: str) -> Statements:
    return Statements(CONFIG, ["plan"], ROOM, ["varchar(20)", "int", watermark_type], [])


def test_the_url_is_that_of_its_room():
    url = CONFIG.url.get_secret_value()

    assert url == "mssql+pyodbc://reader@db.example.com/erp"
    assert dialect_of(make_url(url)).name == "SQL Server"


def test_a_page_is_read_in_legs_whose_parameters_have_the_columns_own_types():
    (first,) = statements("datetime").changed.first
    later = [compiled(leg) for leg in statements("datetime").changed.later]

    assert compiled(first) == (
        "SELECT country, id, updated_at AS cdc_sync_stamp, 0, plan AS cdc_sync_value_0, convert(varchar(23), updated_at, 126) AS"
        " convert_1 FROM erp.contracts WHERE country IS NOT NULL AND id IS NOT NULL AND"
        " (plan <> 'none' ) AND updated_at >= CAST(? AS datetime) ORDER BY updated_at, country, id"
        " OFFSET 0 ROWS FETCH FIRST ? ROWS ONLY"
    )
    assert [
        leg.partition("(plan <> 'none' ) AND ")[2].partition(" OFFSET")[0] for leg in later
    ] == [
        "updated_at = CAST(? AS datetime) AND country = CAST(? AS varchar(20)) AND id > CAST(? AS int) ORDER BY id",
        "updated_at = CAST(? AS datetime) AND country > CAST(? AS varchar(20)) ORDER BY country, id",
        "updated_at > CAST(? AS datetime) ORDER BY updated_at, country, id",
    ]


@pytest.mark.parametrize(
    ("type_", "read", "sent"),
    [
        ("datetime2(7)", "convert(varchar(27), updated_at, 121)", "CAST(? AS datetime2(7))"),
        (
            "datetimeoffset(7)",
            "convert(varchar(34), updated_at, 121)",
            "CAST(? AS datetimeoffset(7))",
        ),
        ("smalldatetime", "convert(varchar(23), updated_at, 126)", "CAST(? AS smalldatetime)"),
        (
            "rowversion",
            "CAST(updated_at AS BIGINT) AS cdc_sync_stamp",
            "CAST(CAST(? AS BIGINT) AS BINARY(8))",
        ),
        ("bigint", "updated_at", "CAST(? AS bigint)"),
    ],
)
def test_a_watermark_keeps_every_digit_on_its_way(type_, read, sent):
    page = compiled(statements(type_).changed.first[0])

    assert read in page.partition(" FROM ")[0]
    assert f"updated_at >= {sent} ORDER BY updated_at," in page


def test_a_row_is_looked_up_by_an_index():
    asked = compiled(statements("datetime").by_id([[["DE"], ["17"]]]))

    assert asked.endswith("country = CAST(? AS varchar(20)) AND id = CAST(? AS int)")


def test_the_greatest_rowversion_is_a_number():
    assert "CAST(max(updated_at) AS BIGINT)" in compiled(statements("rowversion").greatest_number())


def test_a_condition_stands_as_it_is_written():
    gone = CONFIG.model_copy(update={"deleted_when": "state = 'x'"})
    page = compiled(describe_rows(gone, ["plan"], ROOM))

    assert "CASE WHEN (state = 'x' ) THEN 1 ELSE 0 END" in page
    assert "= 1" not in compiled(statements("datetime").in_scope)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (datetime(2026, 7, 1, 12), "2026-07-01T12:00:00.000"),
        (datetime(2026, 7, 1, 12, 0, 0, 3000), "2026-07-01T12:00:00.003"),
        (datetime(2026, 7, 1, 12, 0, 0, 123456), "2026-07-01T12:00:00.123456"),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), "2026-07-01T12:00:00.000+00:00"),
        (
            datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))),
            "2026-07-01T12:00:00.000+02:00",
        ),
        ("2026-07-01T12:00:00.1234567", "2026-07-01T12:00:00.1234567"),
        (17, 17),
    ],
)
def test_a_time_is_sent_as_a_text_with_its_offset(value, sent):
    cast = ROOM.compared(sa.bindparam("x"), "datetimeoffset(7)")
    prepare = cast.clause.type.bind_processor(MSDialect_pyodbc())

    assert prepare(value) == sent


def test_a_description_tells_the_kinds():
    described = [(None, t) for t in (int, Decimal, float, date, datetime, bytearray, str, bool)]
    kinds = ROOM.column_kinds(SimpleNamespace(description=described))

    assert kinds == (
        *(ColumnKind.NUMBER, ColumnKind.NUMBER, ColumnKind.FLOAT, ColumnKind.DATE),
        *(ColumnKind.TIMESTAMP, ColumnKind.BYTES, ColumnKind.OTHER, ColumnKind.OTHER),
    )
    assert ROOM.kind_of("datetimeoffset(7)") is ColumnKind.TIMESTAMPTZ


def driver_error(state: str, text: str, number: int, call: str = "SQLExecDirectW") -> Exception:
    head = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
    return Exception(state, f"[{state}] {head}{text} ({number}) ({call})")


@pytest.mark.parametrize(
    ("state", "number", "text", "says", "is_mistake"),
    [
        ("42S02", 208, "Invalid object name 'nowhere'.", "`source.table`", True),
        ("42S22", 207, "Invalid column name 'missing'.", "`source.watermark`", True),
        ("42000", 102, "Incorrect syntax near '('.", "`source.where`", True),
        ("42000", 229, "The SELECT permission was denied.", "SELECT", True),
        ("28000", 18456, "Login failed for user 'reader'.", "`source.url`", False),
        ("42000", 4060, 'Cannot open database "erp".', "`source.url`", False),
        (
            "42000",
            1222,
            "Lock request time out period exceeded.",
            "ALLOW_SNAPSHOT_ISOLATION",
            False,
        ),
        ("42000", 976, "The target database is a secondary.", "primary", False),
        ("42000", 40613, "Database is not currently available.", "next poll", False),
        ("HYT00", 0, "Login timeout expired", "database is up", False),
        ("08001", -1, "SSL Provider: certificate verify failed", "SSL_CERT_FILE", False),
    ],
)
def test_an_error_has_a_hint(state, number, text, says, is_mistake):
    error = driver_error(state, text, number)
    meaning = ROOM.error_meaning(error)

    assert meaning is not None
    assert says in meaning.hint
    assert meaning.is_mistake is is_mistake
    assert ROOM.error_message(error) == text


def test_what_cannot_be_converted_is_not_the_configurations_mistake():
    assert ROOM.error_meaning(driver_error("22018", "Conversion failed.", 245)) is None


def test_init_prefers_a_rowversion_to_a_time():
    columns = [
        ("id", sa.Integer()),
        ("updated_at", types.DATETIME2()),
        ("version", types.TIMESTAMP()),
    ]
    catalog = [CatalogColumn(name, ROOM.declared_type(type_)) for name, type_ in columns]

    assert catalog[2].type is DeclaredType.VERSION
    assert propose(CatalogTable("contracts", tuple(catalog), (("id",),))).watermark == "version"


class Cursor(sqlite3.Cursor):
    cancelled = 0

    def cancel(self):
        Cursor.cancelled += 1


class Connection(sqlite3.Connection):
    def cursor(self, *_):
        return super().cursor(Cursor)


def test_a_statement_is_cancelled_by_its_cursor():
    engine = sa.create_engine("sqlite://", connect_args={"factory": Connection})
    ROOM.prepare_engine(engine)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        connection.exec_driver_sql("SELECT 1")
        ROOM.cancel(engine, driver)
    engine.dispose()

    assert Cursor.cancelled == 1
