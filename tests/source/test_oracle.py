"""Oracle as far as it can be told without one: its statements, values, errors and driver.

With CDC_SYNC_TEST_ORACLE_URL the conformance suite runs against a server.
"""

import socket
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import oracledb
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.oracle.oracledb import OracleDialect_oracledb
from sqlalchemy.engine import make_url

from cdc_sync.config.model import SourceConfig
from cdc_sync.errors import SourceUnavailable
from cdc_sync.source.dialects import dialect_of
from cdc_sync.source.dialects.base import ColumnKind
from cdc_sync.source.dialects.oracle import Oracle
from cdc_sync.source.statements import Statements

ROOM = Oracle()
CONFIG = SourceConfig.model_validate(
    {
        "url": "oracle://reader@db.example.com/?service_name=erp",
        "query": "SELECT * FROM erp.contracts -- all",
        "id": ["country", "ID"],
        "watermark": "updated_at",
        "where": "plan <> 'none'",
        "deleted_when": "state = 'x'",
    }
)
DATE = "'YYYY-MM-DD\"T\"HH24:MI:SS'"
FRACTION = "'YYYY-MM-DD\"T\"HH24:MI:SS.FF'"


def compiled(statement: Any) -> str:
    return " ".join(str(statement.compile(dialect=OracleDialect_oracledb())).split())


def statements(watermark_type: str) -> Statements:
    return Statements(CONFIG, ["plan"], ROOM, ["VARCHAR", "NUMBER", watermark_type], [])


def test_the_url_is_that_of_its_room():
    url = CONFIG.url.get_secret_value()

    assert url == "oracle+oracledb://reader@db.example.com/?service_name=erp"
    assert dialect_of(make_url(url)).name == "Oracle"


def test_a_page_is_read_in_legs():
    (first,) = statements("DATE").changed.first
    later = [compiled(leg) for leg in statements("DATE").changed.later]

    assert compiled(first) == (
        f'SELECT country, "ID", to_char(updated_at, {DATE}) AS cdc_sync_stamp,'
        " CASE WHEN (state = 'x' ) THEN 1 ELSE 0 END AS anon_1, plan AS cdc_sync_value_0"
        " FROM (SELECT * FROM erp.contracts -- all ) source_rows"
        " WHERE country IS NOT NULL AND \"ID\" IS NOT NULL AND (plan <> 'none' )"
        f' AND updated_at >= to_date(:"start", {DATE}) ORDER BY updated_at, country, "ID"'
        " FETCH FIRST :page_size ROWS ONLY"
    )
    assert [leg.partition("(plan <> 'none' ) AND ")[2].partition(" FETCH")[0] for leg in later] == [
        f'updated_at = to_date(:after_0, {DATE}) AND country = :after_1 AND "ID" > :after_2 ORDER BY "ID"',
        f'updated_at = to_date(:after_0, {DATE}) AND country > :after_1 ORDER BY country, "ID"',
        f'updated_at > to_date(:after_0, {DATE}) ORDER BY updated_at, country, "ID"',
    ]


@pytest.mark.parametrize(
    ("type_", "read", "sent"),
    [
        (
            "TIMESTAMP",
            f"to_char(updated_at, {FRACTION[:-1]}9')",
            f'to_timestamp(:"start", {FRACTION})',
        ),
        (
            "TIMESTAMP_TZ",
            f'to_char(sys_extract_utc(updated_at), {FRACTION[:-1]}9"+00:00"\')',
            f'to_timestamp_tz(:"start", {FRACTION[:-1]}TZH:TZM\')',
        ),
        (
            "TIMESTAMP_LTZ",
            f'to_char(sys_extract_utc(updated_at), {FRACTION[:-1]}9"+00:00"\')',
            f'CAST(to_timestamp_tz(:"start", {FRACTION[:-1]}TZH:TZM\') AS TIMESTAMP WITH LOCAL TIME ZONE)',
        ),
        ("NUMBER", "updated_at", ':"start"'),
    ],
)
def test_a_watermark_keeps_every_digit_on_its_way(type_, read, sent):
    page = compiled(statements(type_).changed.first[0])

    assert read in page.partition(" FROM ")[0]
    assert f"updated_at >= {sent} ORDER BY updated_at," in page


def test_no_two_columns_of_a_page_have_one_name():
    # With FETCH FIRST they would be ambiguous.
    read = Statements(CONFIG, ["country", "ID"], ROOM, [], [])

    assert ' country AS cdc_sync_value_0, "ID" AS cdc_sync_value_1' in compiled(read.full.first[0])


@pytest.mark.parametrize(
    ("type_", "value", "sent"),
    [
        ("DATE", datetime(2026, 7, 1, 12, 0, 0, 5), "2026-07-01T12:00:00"),
        ("TIMESTAMP", datetime(2026, 7, 1, 12), "2026-07-01T12:00:00.000000"),
        ("TIMESTAMP_TZ", datetime(2026, 7, 1, 12, tzinfo=UTC), "2026-07-01T12:00:00.000000+00:00"),
        ("TIMESTAMP", "2026-07-01T12:00:00.123456789", "2026-07-01T12:00:00.123456789"),
    ],
)
def test_a_time_is_sent_as_a_text(type_, value, sent):
    parameter = next(iter(ROOM.compared(sa.bindparam("x"), type_).clauses))
    prepare = parameter.type.bind_processor(OracleDialect_oracledb())

    assert prepare(value) == sent


def test_a_description_tells_the_kinds():
    types = [
        *(oracledb.DB_TYPE_NUMBER, oracledb.DB_TYPE_DATE, oracledb.DB_TYPE_TIMESTAMP_TZ),
        *(oracledb.DB_TYPE_BINARY_DOUBLE, oracledb.DB_TYPE_RAW, oracledb.DB_TYPE_CHAR),
    ]
    cursor = SimpleNamespace(description=[("X", type_) for type_ in types])

    assert ROOM.column_kinds(cursor) == (
        *(ColumnKind.NUMBER, ColumnKind.TIMESTAMP, ColumnKind.TIMESTAMPTZ),
        *(ColumnKind.FLOAT, ColumnKind.BYTES, ColumnKind.OTHER),
    )


@pytest.mark.parametrize(
    ("kind", "part", "forms"),
    [
        (ColumnKind.NUMBER, "17", (17,)),
        (ColumnKind.NUMBER, "erp-17", ()),
        (ColumnKind.NUMBER, "NaN", ()),
        (ColumnKind.TIMESTAMP, "2026-07-01T12:00:00", ("2026-07-01T12:00:00",)),
        (ColumnKind.TIMESTAMP, "erp-17", ()),
        (ColumnKind.BYTES, "0a", (b"\n",)),
        (ColumnKind.OTHER, "erp-17", ("erp-17",)),
    ],
)
def test_what_is_no_value_of_the_column_is_not_asked_for(kind, part, forms):
    assert tuple(ROOM.stored_forms(part, kind)) == forms


@pytest.mark.parametrize(
    ("text", "says", "is_mistake"),
    [
        ('ORA-00942: table or view "ERP"."NOWHERE" does not exist', "`source.table`", True),
        ('ORA-00904: "MISSING": invalid identifier', "`source.watermark`", True),
        ("ORA-00936: missing expression", "`source.where`", True),
        ("ORA-01017: invalid credential or not authorized; logon denied", "`source.url`", False),
        (
            "DPY-6005: cannot connect. DPY-6001: unknown (Similar to ORA-12514)",
            "`source.url`",
            False,
        ),
        ("DPY-4024: call timeout of 300000 ms exceeded", "index", False),
        ("DPY-6005: cannot connect to database. [Errno 111] Connection refused", "is up", False),
    ],
)
def test_an_error_has_a_hint(text, says, is_mistake):
    meaning = ROOM.error_meaning(oracledb.DatabaseError(SimpleNamespace(full_code=text[:9])))
    said = ROOM.error_meaning(Exception(text))

    assert said is not None
    assert says in said.hint
    assert said.is_mistake is is_mistake
    assert meaning is None or meaning is said or "12514" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_a_server_that_is_not_there_is_said_in_words(open_source, host):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    source = open_source(f"oracle://reader:hush@{host}:{port}/?service_name=erp", time_zone="UTC")

    with pytest.raises(SourceUnavailable, match="cannot be reached") as raised, source.scan():
        pass

    assert raised.value.hint
    assert "hush" not in str(raised.value)
