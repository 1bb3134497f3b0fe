"""Oracle, read through python-oracledb in its thin mode, which needs no client libraries.

Times are read and sent as texts: the driver sends one as a DATE, without its fraction, and drops
the offset of a TIMESTAMP WITH TIME ZONE.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Inspector, Select
from sqlalchemy import text as sql
from sqlalchemy.dialects.oracle import TIMESTAMP
from sqlalchemy.engine import URL, Engine
from sqlalchemy.types import NullType, TypeDecorator

from cdc_sync.rules.watermark import TransactionSnapshot
from cdc_sync.source.dialects import base
from cdc_sync.source.dialects.base import (
    Code,
    ColumnKind,
    Dialect,
    ErrorMeaning,
    as_utc,
    split_table,
)

_SESSION = (
    "ALTER SESSION SET TIME_ZONE = '+00:00' NLS_NUMERIC_CHARACTERS = '.,'"
    " NLS_SORT = BINARY NLS_COMP = BINARY"
)
_SERVER = sql(
    "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) AS clock,"
    " SYS_CONTEXT('USERENV', 'DATABASE_ROLE') AS role,"
    " SYS_CONTEXT('USERENV', 'DB_UNIQUE_NAME') AS name FROM DUAL"
)
_PEOPLE = sql("SELECT username FROM all_users WHERE oracle_maintained = 'N'")
_ROWS = sql(
    "SELECT num_rows FROM all_tables WHERE table_name = :name AND owner ="
    " COALESCE(:owner, SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA'))"
)
_AWAY = ErrorMeaning(
    "The next poll tries again.", "The source at {where} is not open: {text}", is_mistake=False
)
_TOO_SLOW = ErrorMeaning(
    f"No read may take longer than {base.STATEMENT_TIMEOUT_SECONDS} s: is there an index?",
    "The source at {where} did not answer in time.",
    is_mistake=False,
)
_TABLE = ErrorMeaning(
    "Check `source.table` and `source.query`, and that the reader was granted SELECT on it."
)


class Oracle(Dialect):
    """Has no horizon that was ever tried: `source.lookback` is in force."""

    name = "Oracle"
    row_values_use_index = False  # it has none
    is_read_only = False
    kinds = {  # by the names of the driver's types
        **dict.fromkeys(("NUMBER", "BINARY_INTEGER"), ColumnKind.NUMBER),
        **dict.fromkeys(("BINARY_DOUBLE", "BINARY_FLOAT"), ColumnKind.FLOAT),
        **dict.fromkeys(("DATE", "TIMESTAMP"), ColumnKind.TIMESTAMP),  # a DATE has a time of day
        **dict.fromkeys(("TIMESTAMP_TZ", "TIMESTAMP_LTZ"), ColumnKind.TIMESTAMPTZ),
        **dict.fromkeys(("RAW", "LONG_RAW", "BLOB"), ColumnKind.BYTES),
    }
    clock_query = "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM DUAL"
    errors = {
        "ORA-00942": _TABLE,
        **dict.fromkeys(("ORA-00904", "ORA-00918"), base.CHECK_COLUMNS),
        **dict.fromkeys(
            ("ORA-00900", "ORA-00903", "ORA-00905", "ORA-00907", "ORA-00911", "ORA-00920"),
            base.CHECK_SYNTAX,
        ),
        **dict.fromkeys(
            ("ORA-00921", "ORA-00923", "ORA-00933", "ORA-00936", "ORA-01756", "ORA-03048"),
            base.CHECK_SYNTAX,
        ),
        "ORA-01031": base.GRANT_SELECT,
        **dict.fromkeys(("ORA-01017", "ORA-28000", "ORA-28001", "ORA-01045"), base.LOGIN_REFUSED),
        # The listener's; the driver's own code is DPY-6005 for all that fails at connect.
        **dict.fromkeys(("ORA-12514", "ORA-12505"), base.UNKNOWN_DATABASE),
        **dict.fromkeys(("ORA-12526", "ORA-12528", "ORA-01033", "ORA-01034"), _AWAY),
        **dict.fromkeys(("DPY-6005", "DPY-4027", "DPY-4011"), base.UNREACHABLE),
        "DPY-4024": _TOO_SLOW,
    }

    def requirement(self, url: URL) -> str:
        return "'cdc-sync[oracle]'"

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        import oracledb  # noqa: PLC0415  # an extra, which other sources do not need

        enable_thin_mode: Callable[[], None] = oracledb.enable_thin_mode
        enable_thin_mode()  # else the first connect keeps those of other threads waiting
        return url, {"tcp_connect_timeout": base.CONNECT_TIMEOUT_SECONDS}

    def prepare_session(self, connection: Any) -> str:
        connection.call_timeout = base.STATEMENT_TIMEOUT_SECONDS * 1000
        with connection.cursor() as cursor:
            cursor.execute(_SESSION)
        return ""  # SYSDATE has the zone of the server's host, which tells no name of it

    def cancel(self, engine: Engine, connection: Any) -> None:
        connection.cancel()

    def column_kinds(self, cursor: Any) -> tuple[ColumnKind, ...]:
        return tuple(self.kinds.get(name, ColumnKind.OTHER) for name in _type_names(cursor))

    def column_types(self, connection: Connection, rows: Select[Any]) -> Sequence[str]:
        with connection.execute(rows) as result:
            return _type_names(result.cursor)

    def kind_of(self, type_: str) -> ColumnKind | None:
        return self.kinds[type_] if type_ in _FORMS else None

    def shown(self, column: ColumnElement[Any], type_: str) -> ColumnElement[Any]:
        if type_ not in _FORMS:
            return column
        instant = sa.func.sys_extract_utc(column) if type_ in _INSTANTS else column
        return sa.func.to_char(instant, _literal(_FORMS[type_][0]))

    def compared(self, value: ColumnElement[Any], type_: str) -> ColumnElement[Any]:
        if type_ not in _FORMS:
            return value
        _, function, form = _FORMS[type_]
        time: ColumnElement[Any] = function(
            sa.type_coerce(value, _TimeAsText(in_seconds=type_ == "DATE")), _literal(form)
        )
        if type_ == "TIMESTAMP_LTZ":
            return sa.cast(time, TIMESTAMP(local_timezone=True))
        return time

    def stored_forms(self, part: str, kind: ColumnKind) -> Sequence[object]:
        # Of what is no number or time Oracle's error has no class of its own.
        if kind in (ColumnKind.TIMESTAMP, ColumnKind.TIMESTAMPTZ):
            return (part,) if base.typed_forms(part, kind) else ()
        forms = base.typed_forms(part, kind)
        return super().stored_forms(part, kind) if forms is None else forms

    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        server = connection.execute(_SERVER).one()
        why, hint = "cdc-sync does not ask Oracle for its open transactions", None
        if server.role not in (None, "PRIMARY"):
            why = "the source is a standby, which does not see the primary's transactions"
            hint = "Point `source.url` at the primary."
        return TransactionSnapshot(as_utc(server.clock), (), server.name, why, hint)

    def schemas(self, inspector: Inspector) -> list[str | None]:
        connection, dialect = inspector.bind, inspector.dialect
        assert isinstance(connection, Connection)  # as the catalog opens it  # noqa: S101
        names = [dialect.normalize_name(name) for name in connection.execute(_PEOPLE).scalars()]
        return [None, *(name for name in names if name != inspector.default_schema_name)]

    def written(self, name: str) -> str:
        return name  # in quotes lower case would be meant

    def table_size(self, connection: Connection, table: str) -> tuple[int, int | None]:
        schema, name = split_table(table)
        catalog_name = connection.dialect.denormalize_name
        place = {"owner": catalog_name(schema) if schema else None, "name": catalog_name(name)}
        return 0, connection.execute(_ROWS, place).scalar()

    def error_code(self, error: BaseException | None) -> Code | None:
        text = str(error)
        return next(
            (code for code in self.errors if str(code) in text),
            getattr(error.args[0], "full_code", None) if error and error.args else None,
        )


_INSTANTS = ("TIMESTAMP_TZ", "TIMESTAMP_LTZ")
_SECONDS = 'YYYY-MM-DD"T"HH24:MI:SS'
# How a time is read as a text, and of such a text made again.
_FORMS: dict[str, tuple[str, Any, str]] = {
    "DATE": (_SECONDS, sa.func.to_date, _SECONDS),
    "TIMESTAMP": (f"{_SECONDS}.FF9", sa.func.to_timestamp, f"{_SECONDS}.FF"),
    **dict.fromkeys(
        _INSTANTS,
        (f'{_SECONDS}.FF9"+00:00"', sa.func.to_timestamp_tz, f"{_SECONDS}.FFTZH:TZM"),
    ),
}


class _TimeAsText(TypeDecorator[Any]):
    """A parameter whose times are texts with all of their digits; of a DATE it has seconds."""

    impl = NullType
    cache_ok = True

    def __init__(self, *, in_seconds: bool) -> None:
        super().__init__()
        self.in_seconds = in_seconds

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        if not isinstance(value, datetime):
            return value
        return value.isoformat(timespec="seconds" if self.in_seconds else "microseconds")


def _literal(text: str) -> ColumnElement[Any]:
    return sa.literal_column(f"'{text}'")


def _type_names(cursor: Any) -> tuple[str, ...]:
    return tuple(column[1].name.removeprefix("DB_TYPE_") for column in cursor.description)
