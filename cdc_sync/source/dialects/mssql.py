"""SQL Server and Azure SQL, read through pyodbc and Microsoft's ODBC driver 18.

A `rowversion` column has an exact horizon (MIN_ACTIVE_ROWVERSION). Parameters are cast to their
column's own type: an untyped time compares with a `datetime` as what it was before rounding, and an
untyped text with a `varchar` without its index.
"""

import platform
import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Inspector, Select
from sqlalchemy import text as sql
from sqlalchemy.dialects import mssql
from sqlalchemy.engine import URL, Engine
from sqlalchemy.types import NullType, TypeDecorator, UserDefinedType

from cdc_sync.rules.watermark import ExactHorizon, TransactionSnapshot
from cdc_sync.source.dialects import base
from cdc_sync.source.dialects.base import (
    Code,
    ColumnKind,
    DeclaredType,
    Dialect,
    ErrorMeaning,
    Remark,
    as_utc,
    quoted_table,
)

LOCK_TIMEOUT_SECONDS = 10
_DRIVER = "ODBC Driver 18 for SQL Server"
_AZURE = 5  # the engine edition of Azure SQL Database
_SYSTEM_SCHEMAS = re.compile(r"db_\w+|sys|guest|INFORMATION_SCHEMA")
# A rowversion whose column is of this database, which its horizon is of.
_OWN_VERSION, _VERSION = "rowversion", "timestamp"
_SESSION = (
    f"SET LOCK_TIMEOUT {LOCK_TIMEOUT_SECONDS * 1000};"
    " SELECT snapshot_isolation_state, CAST(SERVERPROPERTY('EngineEdition') AS int)"
    " FROM sys.databases WHERE database_id = DB_ID()"
)
_TYPES = sql(
    "SELECT system_type_name AS type, error_number AS error,"
    " CASE WHEN source_server IS NULL AND source_database = DB_NAME() THEN 1 ELSE 0 END AS is_own"
    " FROM sys.dm_exec_describe_first_result_set(:query, NULL, :browse)"
    " WHERE is_hidden = 0 OR error_number IS NOT NULL ORDER BY column_ordinal"
)
_SERVER = sql(
    "SELECT SYSUTCDATETIME() AS clock, is_read_committed_snapshot_on AS is_versioned,"
    " snapshot_isolation_state AS snapshots,"
    " CONCAT(@@SERVERNAME, '/', name, '/', CONVERT(varchar(23), create_date, 126)) AS identity_,"
    " CAST(DATABASEPROPERTYEX(name, 'Updateability') AS varchar(20)) AS updateability"
    " FROM sys.databases WHERE database_id = DB_ID()"
)
_OLDEST_OPEN_VERSION = "SELECT CAST(MIN_ACTIVE_ROWVERSION() AS bigint)"
_ROWS = sql(
    "SELECT SUM(rows) FROM sys.partitions WHERE object_id = OBJECT_ID(:name) AND index_id IN (0, 1)"
)
_AWAY = ErrorMeaning(
    "It takes no requests just now; the next poll tries again.",
    "The source at {where} is busy or restarts: {text}",
    is_mistake=False,
)
_HELD = ErrorMeaning(
    "The next poll tries again. No reader waits after:"
    " ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;",
    "The source at {where} has rows that a writer holds.",
    is_mistake=False,
)
_SECONDARY = ErrorMeaning(
    "Point `source.url` at the primary.",
    "The source at {where} is a secondary that cannot be read: {text}",
    is_mistake=False,
)
_UNTRUSTED = ErrorMeaning(
    "Install the certificate of its authority on this machine, or name it by SSL_CERT_FILE.",
    "The source at {where} has a certificate that is not trusted.",
    is_mistake=False,
)
_NUMBER = re.compile(r"\((-?\d+)\) \(SQL\w+\)")
_PREFIX = re.compile(r"^(\[[^\]]*\] ?)+")


class MSSQL(Dialect):
    """Tells a horizon for rowversion columns; for times `source.lookback` is in force."""

    name = "SQL Server"
    row_values_use_index = False  # it has none
    is_read_only = False
    kinds = {
        **dict.fromkeys((int, Decimal), ColumnKind.NUMBER),
        float: ColumnKind.FLOAT,
        date: ColumnKind.DATE,
        datetime: ColumnKind.TIMESTAMP,
        **dict.fromkeys((bytes, bytearray), ColumnKind.BYTES),
    }
    clock_query = "SELECT SYSUTCDATETIME()"
    errors = {  # by number, else by SQLSTATE
        208: base.CHECK_TABLE,
        **dict.fromkeys((207, 4104, 8155, 8156), base.CHECK_COLUMNS),
        **dict.fromkeys((102, 105, 156, 195, 319, 4145), base.CHECK_SYNTAX),
        **dict.fromkeys((229, 230, 297, 300, 371), base.GRANT_SELECT),
        **dict.fromkeys((18456, 18470, 18486, 18487, 18488), base.LOGIN_REFUSED),
        **dict.fromkeys((911, 916, 4060), base.UNKNOWN_DATABASE),
        1222: _HELD,
        **dict.fromkeys((976, 978, 983), _SECONDARY),
        **dict.fromkeys((596, 6005, 40197, 40501, 40613, 49918, 10928, 10929), _AWAY),
        **dict.fromkeys((1205, 3947, 3960, 3961), _AWAY),
        "28000": base.LOGIN_REFUSED,
        **dict.fromkeys(("08001", "08S01", "HYT00"), base.UNREACHABLE),
        "certificate": _UNTRUSTED,
    }

    def requirement(self, url: URL) -> str:
        return "'cdc-sync[mssql]'; and: apt-get install unixodbc"

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        import pyodbc  # noqa: PLC0415  # an extra, which other sources do not need

        pyodbc.pooling = False  # SQLAlchemy has a pool
        if "driver" not in url.query and "odbc_connect" not in url.query:
            known = _DRIVER in pyodbc.drivers()
            driver = _DRIVER if known else str(_bundled_driver() or _DRIVER)
            url = url.update_query_dict({"driver": driver})
        return url, {"timeout": base.CONNECT_TIMEOUT_SECONDS}

    def prepare_engine(self, engine: Engine) -> None:
        def remember(_: Connection, cursor: Any, *__: Any) -> None:
            cursors[id(cursor.connection)] = cursor

        # ODBC cancels by the cursor; by the connection there is no way.
        dialect: Any = engine.dialect
        cursors: dict[int, Any] = {}
        dialect.last_cursors = cursors
        sa.event.listen(engine, "before_cursor_execute", remember)

    def prepare_session(self, connection: Any) -> str:
        connection.timeout = base.STATEMENT_TIMEOUT_SECONDS
        with connection.cursor() as cursor:
            cursor.execute(_SESSION)
            if cursor.description is None:  # of the SET
                cursor.nextset()
            snapshots, edition = cursor.fetchone()
            if snapshots == 1:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
        connection.commit()
        return "UTC" if edition == _AZURE else ""

    def cancel(self, engine: Engine, connection: Any) -> None:
        cursors: dict[int, Any] = cast("Any", engine.dialect).last_cursors
        if (cursor := cursors.get(id(connection))) is not None:
            cursor.cancel()

    def remark(self, connection: Connection) -> Remark:
        server = connection.execute(_SERVER).one()
        if server.snapshots == 1:
            return Remark("snapshot isolation is on: reads wait for no writer")
        if server.is_versioned:
            return Remark("READ_COMMITTED_SNAPSHOT is on: reads wait for no writer")
        return Remark(
            f"reads wait for writers, and give up after {LOCK_TIMEOUT_SECONDS} s until the next"
            " poll",
            "Better: ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;",
        )

    def column_types(self, connection: Connection, rows: Select[Any]) -> Sequence[str]:
        query = str(
            rows.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        )
        for browse in (1, 0):  # whose columns they are is not told of every query
            found = connection.execute(_TYPES, {"query": query, "browse": browse}).all()
            if found and not any(column.error for column in found):
                return tuple(_type_of(column) for column in found)
        return ()  # the query itself will say what is wrong

    def kind_of(self, type_: str) -> ColumnKind | None:
        return ColumnKind.TIMESTAMPTZ if type_.startswith("datetimeoffset") else None

    def shown(self, column: ColumnElement[Any], type_: str) -> ColumnElement[Any]:
        return sa.cast(column, sa.BigInteger) if type_ in (_OWN_VERSION, _VERSION) else column

    def exact(self, column: ColumnElement[Any], type_: str) -> ColumnElement[Any] | None:
        found = _TEXTS.get(type_.partition("(")[0])
        if found is None:
            return None
        length, style = found
        return sa.func.convert(sa.literal_column(f"varchar({length})"), column, sa.text(style))

    def compared(self, value: ColumnElement[Any], type_: str) -> ColumnElement[Any]:
        if not type_:
            return value
        if type_ in (_OWN_VERSION, _VERSION):
            return sa.cast(sa.cast(value, sa.BigInteger), mssql.BINARY(8))
        return sa.cast(sa.type_coerce(value, _TimeAsText()), _Type(type_))

    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        server = connection.execute(_SERVER).one()
        why = "cdc-sync asks SQL Server for the open transactions of rowversion columns alone"
        hint = "Add one for `source.watermark`: ALTER TABLE … ADD row_version rowversion;"
        if _is_secondary(server):
            why = "the source is a secondary, which does not see the primary's transactions"
            hint = "Point `source.url` at the primary."
        return TransactionSnapshot(as_utc(server.clock), (), server.identity_, why, hint)

    def exact_horizon(self, connection: Connection, type_: str) -> ExactHorizon | None:
        if type_ != _OWN_VERSION:
            return None
        server = connection.execute(_SERVER).one()
        if _is_secondary(server):
            return None
        number = connection.exec_driver_sql(_OLDEST_OPEN_VERSION).scalar_one()
        return ExactHorizon(int(number), as_utc(server.clock), server.identity_)

    def schemas(self, inspector: Inspector) -> list[str | None]:
        names = inspector.get_schema_names()
        own = inspector.default_schema_name
        return [None, *(n for n in names if n != own and not _SYSTEM_SCHEMAS.fullmatch(n))]

    def table_size(self, connection: Connection, table: str) -> tuple[int, int | None]:
        name = quoted_table(connection, table)
        return 0, connection.execute(_ROWS, {"name": name}).scalar()

    def declared_type(self, type_: object) -> DeclaredType:
        if isinstance(type_, mssql.TIMESTAMP):
            return DeclaredType.VERSION
        return super().declared_type(type_)

    def error_meaning(self, error: BaseException | None) -> ErrorMeaning | None:
        if "certificate" in str(error):  # what else is said of it is that nobody can be reached
            return _UNTRUSTED
        return super().error_meaning(error)

    def error_code(self, error: BaseException | None) -> Code | None:
        state, text = _state_and_text(error)
        number = _NUMBER.search(text)
        known = int(number.group(1)) if number else None
        return known if known in self.errors else state

    def error_message(self, error: BaseException | None) -> str:
        text = _state_and_text(error)[1]
        return _PREFIX.sub("", _NUMBER.split(text)[0]).strip()


# As which text a time is read to be sent back with all of its digits: length and style.
_TEXTS = {
    "datetimeoffset": (34, "121"),
    "datetime2": (27, "121"),
    "datetime": (23, "126"),
    "smalldatetime": (23, "126"),
    "time": (16, "121"),
}


class _Type(UserDefinedType[Any]):
    """A type by the name that the database gave it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """Its name."""
        return self.name


class _TimeAsText(TypeDecorator[Any]):
    """A parameter whose times are texts, since the driver drops their offset."""

    impl = NullType
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        if not isinstance(value, datetime):
            return value
        # A `datetime` takes three digits, and has no more.
        return value.isoformat(timespec="auto" if value.microsecond % 1000 else "milliseconds")


def _type_of(column: Any) -> str:
    name = str(column.type)
    return _OWN_VERSION if name == _VERSION and column.is_own else name


def _is_secondary(server: Any) -> bool:
    return bool(server.updateability == "READ_ONLY")


def _state_and_text(error: BaseException | None) -> tuple[str | None, str]:
    """The SQLSTATE of a driver's exception, and what it says."""
    if error is None or len(error.args) < 2:
        return None, str(error)
    return str(error.args[0]), str(error.args[1])


def _bundled_driver() -> Path | None:
    """The driver's file that the extra brings, for where Microsoft's package is not installed."""
    found = find_spec("mssql_python_odbc")
    if found is None or found.origin is None:
        return None
    about = platform.freedesktop_os_release()
    like = f"{about.get('ID')} {about.get('ID_LIKE', '')}"
    family = next((folder for sign, folder in _FAMILIES.items() if sign in like), "debian_ubuntu")
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    folder = Path(found.origin).parent / "libs" / "linux" / family / machine / "lib"
    return next(iter(sorted(folder.glob("libmsodbcsql-18*"))), None)


_FAMILIES = {"rhel": "rhel", "fedora": "rhel", "suse": "suse", "alpine": "alpine"}
