"""MySQL and MariaDB, read through PyMySQL.

The open transactions are those of INNODB_TRX (`_TRANSACTIONS`) and, for what has not reached InnoDB
yet, the statements that run (`_STATEMENTS`): `MySQL.open_transactions` asks for both.
"""

import codecs
import re
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select, exc
from sqlalchemy import text as sql
from sqlalchemy.dialects.mysql import TINYINT
from sqlalchemy.engine import URL, Engine

from cdc_sync.contract import canonical_json
from cdc_sync.rules.watermark import OpenTransaction, TransactionSnapshot
from cdc_sync.source.dialects import base
from cdc_sync.source.dialects.base import (
    Code,
    ColumnKind,
    DeclaredType,
    Dialect,
    as_utc,
    instant_text,
)

_DENIED = 1227  # ER_SPECIFIC_ACCESS_DENIED_ERROR
_SIZE = sql(
    "SELECT coalesce(data_length, 0), table_rows FROM information_schema.TABLES"
    " WHERE table_schema = DATABASE() AND table_name = :name"
)
_SERVER = sql(
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN"
    " ('read_only', 'wsrep_on', 'group_replication_group_name', 'hostname', 'server_id',"
    " 'server_uuid')"
)
# trx_started is written in the zone of the server's host, whatever the session's is.
_TRANSACTIONS = sql(
    "SELECT trx_id, trx_mysql_thread_id,"
    " CONVERT_TZ(trx_started, 'SYSTEM', '+00:00') AS started FROM information_schema.INNODB_TRX"
    " WHERE trx_mysql_thread_id <> CONNECTION_ID()"
)
# An event runs in a session that stays at Connect; one that only logs in has no statement yet.
_STATEMENTS = sql(
    "SELECT id, user, UTC_TIMESTAMP() - INTERVAL time + 1 SECOND AS started,"
    " user = 'system user' AS replicates FROM information_schema.PROCESSLIST"
    " WHERE id <> CONNECTION_ID() AND (user = 'system user' AND command <> 'Daemon'"
    "  OR time IS NOT NULL AND (command IN ('Query', 'Execute', 'Long Data')"
    "   OR command = 'Connect' AND info IS NOT NULL))"
)
_REPLICA = "the source is a replica, which does not see its primary's transactions"
_ASK_THE_PRIMARY = "Point `source.url` at the primary."
# Of the protocol: the types of texts and bytes, the flags ENUM and SET, the charset of bytes.
_TEXT_TYPES = {247, 248, 249, 250, 251, 252, 253, 254}
_ENUM_OR_SET = 256 | 2048
_BINARY = 63
_TIME = re.compile(r"(-?)(\d+)(:\d\d:\d\d)(?:\.(\d+))?")
_LENIENT_UTF8 = "cdc_sync_lenient_utf8"  # MariaDB keeps halves of pairs, which are no UTF-8


def _lenient_codec(name: str) -> codecs.CodecInfo | None:
    # The driver decodes value by value, but lets nobody say what to do with an error.
    if name != _LENIENT_UTF8:
        return None
    return codecs.CodecInfo(
        lambda text, _errors="strict": codecs.utf_8_encode(text, "surrogateescape"),
        lambda data, _errors="strict": codecs.utf_8_decode(data, "surrogateescape", True),
        name=name,
    )


codecs.register(_lenient_codec)


class MySQL(Dialect):
    """Shows every transaction of its own to a reader with PROCESS."""

    name = "MySQL"
    row_values_use_index = False
    kinds = {  # by the protocol's field types
        **dict.fromkeys((0, 1, 2, 3, 8, 9, 246), ColumnKind.NUMBER),
        4: ColumnKind.REAL,  # six digits are shown
        5: ColumnKind.FLOAT,
        16: ColumnKind.BIT,
        10: ColumnKind.DATE,
        12: ColumnKind.TIMESTAMP,
        7: ColumnKind.TIMESTAMPTZ,  # a TIMESTAMP is an instant
    }
    clock_query = "SELECT UTC_TIMESTAMP(6)"
    errors = {
        1146: base.CHECK_TABLE,
        1054: base.CHECK_COLUMNS,
        1064: base.CHECK_SYNTAX,
        1305: base.CHECK_SYNTAX,
        1142: base.GRANT_SELECT,
        **dict.fromkeys((1045, 1698), base.LOGIN_REFUSED),
        **dict.fromkeys((1049, 1044), base.UNKNOWN_DATABASE),
        **dict.fromkeys((2003, 2002), base.UNREACHABLE),
    }

    def requirement(self, url: URL) -> str:
        return "'cdc-sync[mysql]'"

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        return url, {
            "connect_timeout": base.CONNECT_TIMEOUT_SECONDS,
            "read_timeout": base.STATEMENT_TIMEOUT_SECONDS,
            "charset": "utf8mb4",
            "conv": _conversions(),
        }

    def prepare_session(self, connection: Any) -> str:
        connection.encoding = _LENIENT_UTF8
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@session.time_zone, @@system_time_zone")
            session, system = cursor.fetchone()
            cursor.execute("SET SESSION time_zone = '+00:00'")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
        return str(system if session == "SYSTEM" else session)

    def cancel(self, engine: Engine, connection: Any) -> None:
        # The protocol has no way to do it on the same connection.
        arguments, options = engine.dialect.create_connect_args(engine.url)
        with closing(engine.dialect.connect(*arguments, **options)) as other:
            other.cursor().execute(f"KILL QUERY {connection.thread_id()}")

    def column_kinds(self, cursor: Any) -> tuple[ColumnKind, ...]:
        # The description leaves out by what texts, bytes, ENUM and SET differ; PyMySQL has it here.
        fields = cursor._result.fields  # noqa: SLF001
        return tuple(
            _text_kind(field) if field.type_code in _TEXT_TYPES else kind
            for field, kind in zip(fields, super().column_kinds(cursor), strict=True)
        )

    def is_null(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        # To MariaDB the date 0000-00-00 IS NULL, but is not the same as NULL.
        return column.is_not_distinct_from(sa.null())

    def server_name(self, connection: Connection) -> str:
        name = super().server_name(connection)
        is_mariadb = getattr(connection.dialect, "is_mariadb", False)
        return name.replace(self.name, "MariaDB") if is_mariadb else name

    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        clock = self.clock(connection)
        own = {str(name).lower(): str(value) for name, value in connection.execute(_SERVER)}
        identity = f"{own.get('hostname')}/{own.get('server_uuid') or own.get('server_id')}"
        why, hint = _unavailable_reason(connection, own)
        if why is not None:
            return TransactionSnapshot(clock, (), None, why, hint)
        try:
            # The statements first: one that ends meanwhile is in the transactions.
            statements = connection.execute(_STATEMENTS).all()
            transactions = connection.execute(_TRANSACTIONS).all()
        except exc.DBAPIError as error:
            if self.error_code(error.orig) != _DENIED:
                raise
            user = str(connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one())
            name, _, host = user.rpartition("@")
            why = f"{user} may not see others' transactions"
            hint = f"GRANT PROCESS ON *.* TO '{name}'@'{host}';"
            return TransactionSnapshot(clock, (), identity, why, hint)
        if any(row.replicates for row in statements):
            return TransactionSnapshot(clock, (), None, _REPLICA, _ASK_THE_PRIMARY)
        found = [*map(_running_statement, statements), *map(_transaction, transactions)]
        return TransactionSnapshot(clock, tuple(found), identity)

    def table_size(self, connection: Connection, table: str) -> tuple[int, int | None]:
        size, rows = connection.execute(_SIZE, {"name": table}).first() or (0, None)
        return size, rows

    def declared_type(self, type_: object) -> DeclaredType:
        # A flag, mostly.
        return DeclaredType.OTHER if isinstance(type_, TINYINT) else super().declared_type(type_)

    def error_code(self, error: BaseException | None) -> Code | None:
        code = error.args[0] if error is not None and error.args else None
        return code if isinstance(code, int) else None

    def error_message(self, error: BaseException | None) -> str:
        return str(error.args[1] if error is not None and len(error.args) > 1 else error)


def _unavailable_reason(
    connection: Connection, own: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Returns why a server cannot know of every transaction, and a hint; None where it can."""
    if own.get("read_only", "OFF") not in ("OFF", "0"):
        return _REPLICA, _ASK_THE_PRIMARY
    if own.get("wsrep_on", "OFF") == "ON":
        return "the source is a Galera node, which does not see the others' transactions", None
    if own.get("group_replication_group_name"):
        why = "the source replicates in a group, and does not see the others' transactions"
        return why, None
    if _has_primary(connection):
        return _REPLICA, f"{_ASK_THE_PRIMARY} If this is it now: RESET REPLICA ALL;"
    return None, None


def _has_primary(connection: Connection) -> bool:
    """Whether a replica's settings are there, also while it is stopped; False where they hide."""
    statement = "SHOW REPLICA STATUS"
    if getattr(connection.dialect, "is_mariadb", False):
        statement = "SHOW ALL SLAVES STATUS"
    elif (connection.dialect.server_version_info or ()) < (8, 0, 22):
        statement = "SHOW SLAVE STATUS"
    try:
        return connection.exec_driver_sql(statement).first() is not None
    except exc.DBAPIError as error:
        if error.orig is None or error.orig.args[0] != _DENIED:
            raise
        return False


def _text_kind(field: Any) -> ColumnKind:
    if field.flags & _ENUM_OR_SET:
        return ColumnKind.ENUM
    return ColumnKind.BYTES if field.charsetnr == _BINARY else ColumnKind.OTHER


def _time_text(raw: str) -> str:
    """A TIME as Python writes a time of day, also where it is negative or longer than a day."""
    found = _TIME.fullmatch(raw)
    if found is None:
        return raw
    sign, hours, rest, fraction = found.groups()
    return f"{sign}{int(hours)}{rest}{f'.{fraction:0<6}' if int(fraction or 0) else ''}"


def _conversions() -> dict[Any, Any]:
    """The driver's conversions, but a TIMESTAMP, which is an instant, comes as one in UTC."""
    from pymysql import converters  # noqa: PLC0415  # an extra, which other sources do not need
    from pymysql.constants import FIELD_TYPE  # noqa: PLC0415

    def instant(raw: str) -> object:
        value = converters.convert_datetime(raw)
        return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value

    return {
        **converters.conversions,
        FIELD_TYPE.TIMESTAMP: instant,
        FIELD_TYPE.TIME: _time_text,
        FIELD_TYPE.JSON: canonical_json,
    }


def _running_statement(row: Any) -> OpenTransaction:
    started = as_utc(row.started)
    return OpenTransaction(
        f"statement {row.id} {row.started}",
        f"a statement of {row.user} (connection {row.id}), since {instant_text(started)}",
        started,
    )


def _transaction(row: Any) -> OpenTransaction:
    started = as_utc(row.started)
    return OpenTransaction(
        f"transaction {row.trx_id} {row.started}",
        f"a transaction of connection {row.trx_mysql_thread_id},"
        f" open since {instant_text(started)}",
        started,
    )
