"""PostgreSQL, read through psycopg."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Inspector, Select, exc
from sqlalchemy import text as sql
from sqlalchemy.engine import URL, Engine

from cdc_sync.contract import canonical_json
from cdc_sync.rules.watermark import OpenTransaction, TransactionSnapshot
from cdc_sync.source.dialects import base
from cdc_sync.source.dialects.base import (
    Code,
    ColumnKind,
    Dialect,
    NoHorizon,
    instant_text,
    quoted_table,
)

_SYSTEM_SCHEMAS = ("information_schema", "pg_catalog", "pg_toast")
_SIZE = sql(
    "SELECT pg_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = to_regclass(:name)"
)
_KIND = sql("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:name)")
_SERVER = (
    "SELECT pg_is_in_recovery() AS standby,"
    " pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS privileged,"
    " current_user AS reader, statement_timestamp() AS clock, {identity} AS identity"
)
_IDENTIFIED_SERVER = sql(
    _SERVER.format(
        identity="(SELECT system_identifier || '/' || timeline_id || '/' || current_database()"
        " FROM pg_control_system(), pg_control_checkpoint())"
    )
)
_ANONYMOUS_SERVER = sql(_SERVER.format(identity="NULL"))
_HIDES_IDENTITY = "the server hides its control file"
_EXTERNAL_DATA = "what the rows read of elsewhere"
_EXTERNAL_DATA_SECONDS = 60.0
# In a plan each view has been replaced by what it reads, at any depth.
_PLAN = "EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) "
# Of the relations in a plan one whose rows were committed elsewhere, or before a refresh.
_WRITTEN_ELSEWHERE = sql(
    "SELECT one.oid::regclass::text, one.relkind"
    " FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS place (schema, name)"
    " JOIN pg_namespace AS its ON its.nspname = place.schema"
    " JOIN pg_class AS one ON one.relnamespace = its.oid AND one.relname = place.name"
    " WHERE one.relkind = 'm' OR EXISTS (SELECT FROM pg_subscription_rel AS fed"
    "  WHERE fed.srrelid = one.oid OR fed.srrelid IN (SELECT pg_partition_ancestors(one.oid)))"
    " ORDER BY one.relkind, 1 LIMIT 1"
)
# What the view pg_stat_activity reads, without its joins, which take longer than all the rest. A
# session's times are there only for who may see them; without, they are NULL, not missing.
_SESSIONS = sql(
    "SELECT statement_timestamp() AS clock, session.* FROM (SELECT) AS one LEFT JOIN LATERAL ("
    " SELECT pid, backend_start, pg_get_userbyid(usesysid) AS usename, application_name,"
    "  least(xact_start, CASE WHEN state <> 'idle' THEN query_start END) AS started,"
    "  (backend_type IS NULL OR state = 'disabled') AS hidden"
    " FROM pg_stat_get_activity(NULL)"
    " WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    "  AND pid <> pg_backend_pid()"
    "  AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'autovacuum launcher')"
    ") AS session ON session.started IS NOT NULL OR session.hidden"
)
_PREPARED = sql(
    "SELECT transaction::text, gid, owner FROM pg_prepared_xacts"
    " WHERE database = current_database()"
)
# What psycopg gives as a value whose text is the database's own, or is one that mappings rely on.
_PLAIN_TYPES = {
    *("int2", "int4", "int8", "oid", "numeric", "float4", "float8", "bool", "uuid", "bytea"),
    *("date", "timestamp", "timestamptz", "time", "timetz", "inet", "cidr"),
    *("text", "varchar", "bpchar", "name", '"char"'),
}


class _ExternalData(NamedTuple):
    rows: Select[Any]
    found: NoHorizon | None
    until: float  #: by the monotonic clock


class PostgreSQL(Dialect):
    """Shows every transaction to a reader with pg_read_all_stats."""

    name = "PostgreSQL"
    kinds = {  # by the object ids of types (pg_type.dat)
        **dict.fromkeys((20, 21, 23, 1700), ColumnKind.NUMBER),
        17: ColumnKind.BYTES,
        700: ColumnKind.REAL,
        701: ColumnKind.FLOAT,
        1082: ColumnKind.DATE,
        1114: ColumnKind.TIMESTAMP,
        1184: ColumnKind.TIMESTAMPTZ,
    }
    clock_query = "SELECT clock_timestamp()"
    errors = {
        **dict.fromkeys(("42P01", "3F000"), base.CHECK_TABLE),
        "42703": base.CHECK_COLUMNS,
        **dict.fromkeys(("42601", "42883", "42804"), base.CHECK_SYNTAX),
        "42501": base.GRANT_SELECT,
        # While it connects the driver has no code, only the text of each address that it tried.
        **dict.fromkeys(("password authentication failed", 'role "'), base.LOGIN_REFUSED),
        "does not exist": base.UNKNOWN_DATABASE,
        "Connection refused": base.UNREACHABLE,
        "could not translate": base.UNREACHABLE,
        "Name or service not known": base.UNREACHABLE,
        "failed to resolve": base.UNREACHABLE,
        "timeout expired": base.UNREACHABLE,
        "Network is unreachable": base.UNREACHABLE,
    }

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        return url, {
            "connect_timeout": base.CONNECT_TIMEOUT_SECONDS,
            "application_name": "cdc-sync",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # A prepared statement fails for ever on its connection once a column was altered.
            "prepare_threshold": None,
        }

    def prepare_engine(self, engine: Engine) -> None:
        engine.dialect.use_native_hstore = False  # type: ignore[attr-defined]  # comes as a dict

    def prepare_session(self, connection: Any) -> str:
        register_safe_loaders(connection)
        with connection.cursor() as cursor:
            # The zone is that of a fresh session, so it is read before it is set.
            cursor.execute("SHOW TimeZone")
            (zone,) = cursor.fetchone()
            cursor.execute(
                "SET TimeZone = 'UTC'; SET default_transaction_read_only = on;"
                f" SET statement_timeout = '{base.STATEMENT_TIMEOUT_SECONDS}s'"
            )
        connection.commit()
        return str(zone)

    def cancel(self, engine: Engine, connection: Any) -> None:
        connection.cancel()

    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        server = _server(connection)
        missing = self._known_external_data(connection, rows) or _without_horizon(server)
        if missing is not None:
            return TransactionSnapshot(
                server.clock, (), server.identity, missing.reason, missing.hint
            )
        sessions = connection.execute(_SESSIONS).all()
        prepared = connection.execute(_PREPARED).all()  # after the sessions, which it may leave
        if hidden := sum(bool(session.hidden) for session in sessions):
            why = f"{hidden} session(s) do not show their transactions"
            hint = "Set track_activities = on for every role."
            return TransactionSnapshot(server.clock, (), server.identity, why, hint)
        found = [_session(row) for row in sessions if row.started is not None]
        found += [_prepared_transaction(*row) for row in prepared]
        clock = min(server.clock, sessions[0].clock)
        return TransactionSnapshot(clock, tuple(found), server.identity)

    def _known_external_data(self, connection: Connection, rows: Select[Any]) -> NoHorizon | None:
        """Returns the external data as of the last minute: a plan costs more than an idle poll."""
        known = connection.info.get(_EXTERNAL_DATA)
        now = time.monotonic()
        if known is None or known.rows is not rows or now > known.until:
            found = self.external_data(connection, rows)
            known = _ExternalData(rows, found, now + _EXTERNAL_DATA_SECONDS)
            connection.info[_EXTERNAL_DATA] = known
        return known.found

    def external_data(self, connection: Connection, rows: Select[Any]) -> NoHorizon | None:
        query = str(rows.compile(dialect=connection.dialect))
        plan = connection.exec_driver_sql(_PLAN + query).scalar_one()
        steps = list(_steps(json.loads(plan)[0]["Plan"]))
        return next(filter(None, map(_foreign, steps)), None) or _written_elsewhere(
            connection, [step for step in steps if "Relation Name" in step]
        )

    def schemas(self, inspector: Inspector) -> list[str | None]:
        return [
            None,
            *(
                schema
                for schema in inspector.get_schema_names()
                if schema != inspector.default_schema_name
                and not schema.startswith(_SYSTEM_SCHEMAS)
            ),
        ]

    def view_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        materialized = inspector.get_materialized_view_names(schema)
        return {*inspector.get_view_names(schema), *materialized}

    def table_size(self, connection: Connection, table: str) -> tuple[int, int | None]:
        name = quoted_table(connection, table)
        size, rows = connection.execute(_SIZE, {"name": name}).first() or (0, None)
        return size, rows

    def index_statement(self, index: str, table: str, columns: str) -> str:
        # It names the index itself; CONCURRENTLY lets the source's application go on writing.
        return f"CREATE INDEX CONCURRENTLY ON {table} ({columns});"

    def is_partitioned(self, connection: Connection, table: str) -> bool:
        place = {"name": quoted_table(connection, table)}
        return connection.execute(_KIND, place).scalar() == "p"

    def error_code(self, error: BaseException | None) -> Code | None:
        return getattr(error, "sqlstate", None)


def _server(connection: Connection) -> Any:
    if not connection.info.get(_HIDES_IDENTITY):
        try:
            return connection.execute(_IDENTIFIED_SERVER).one()
        except exc.DBAPIError as error:
            if connection.invalidated or error.connection_invalidated:
                raise
            connection.info[_HIDES_IDENTITY] = True  # asked once, for its log has each refusal
    return connection.execute(_ANONYMOUS_SERVER).one()


def _without_horizon(server: Any) -> NoHorizon | None:
    """Returns why a server does not show every transaction; None where it does."""
    if server.standby:
        why = "the source is a standby, which does not see the primary's transactions"
        return NoHorizon(why, "Point `source.url` at the primary.")
    if not server.privileged:
        why = f'"{server.reader}" may not see when others\' transactions began'
        return NoHorizon(why, f'GRANT pg_read_all_stats TO "{server.reader}";')
    return None


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _steps(part)


def _foreign(step: dict[str, Any]) -> NoHorizon | None:
    """Returns why a step of a plan reads what no catalog of this database tells of."""
    kind, schema = step["Node Type"], step.get("Schema")
    if kind == "Foreign Scan":
        name = step.get("Relation Name") or step.get("Relations")
        return NoHorizon(
            f"{name} is a foreign table, and its server's transactions are not seen",
            "Point `source.url` at that server, or make `source.lookback` longer than the longest"
            " transaction there.",
        )
    if kind == "Function Scan" and schema != "pg_catalog":
        name = step.get("Function Name", step.get("Alias"))
        return NoHorizon(
            f"{name}() is a function, and what it reads is not seen",
            "Name the tables that it reads in `source.table` or `source.query`.",
        )
    return None


def _written_elsewhere(connection: Connection, scans: Sequence[dict[str, Any]]) -> NoHorizon | None:
    """Returns which of the relations in a plan has its rows from elsewhere, or from a refresh."""
    schemas, names = [scan["Schema"] for scan in scans], [scan["Relation Name"] for scan in scans]
    found = connection.execute(_WRITTEN_ELSEWHERE, {"schemas": schemas, "names": names}).first()
    if found is None:
        return None
    name, kind = found
    if kind == "m":
        return NoHorizon(
            f"{name} is a materialized view, which shows changes once it is refreshed",
            "Name the tables that it reads in `source.table` or `source.query`, or make"
            " `source.lookback` longer than the time from one refresh to the end of the next.",
        )
    return NoHorizon(f"{name} is fed by a logical subscription, whose stamps are another server's")


def _session(row: Any) -> OpenTransaction:
    application = f" ({row.application_name})" if row.application_name else ""
    return OpenTransaction(
        f"{row.pid} {row.backend_start} {row.started}",
        f"session {row.pid} of {row.usename or 'the server'}{application},"
        f" open since {instant_text(row.started)}",
        row.started,
    )


def _prepared_transaction(key: str, gid: str, owner: str) -> OpenTransaction:
    return OpenTransaction(key, f'the prepared transaction "{gid}" of {owner}', None)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that Python has no form for, as the database writes it: infinity, 24:00."""

    text: str

    def __str__(self) -> str:
        return self.text


def register_safe_loaders(connection: Any) -> None:
    """Makes a psycopg connection give each value, whatever it is, and take it back.

    What Python has no plain form for comes as the database's own text, JSON as canonical JSON; a
    time that Python has no form for as `Unreadable`. A text that is not in the database's encoding
    keeps its bytes as surrogates, so that it rejects one row.
    """
    import psycopg  # noqa: PLC0415  # takes 0.3 s, and only PostgreSQL needs it
    from psycopg.types.string import StrDumperUnknown, TextLoader  # noqa: PLC0415

    encoding = _use_own_encoding(connection)
    text: Any = TextLoader
    if encoding is not None:
        own_encoding = encoding
        text = _loader(lambda data: data.decode(own_encoding, "surrogateescape"))

        class TextDumper(StrDumperUnknown):
            def dump(self, obj: str) -> bytes:
                return obj.encode(own_encoding, "surrogateescape")

        connection.adapters.register_dumper(str, TextDumper)
        for name in ("text", "varchar", "bpchar", "name", '"char"'):
            connection.adapters.register_loader(name, text)
        connection.adapters.register_loader(0, text)  # any type that psycopg does not know
    for known in psycopg.adapters.types:
        if known.array_oid:
            connection.adapters.register_loader(
                known.array_oid, _array_loader(known.array_oid, encoding)
            )
        if known.name not in _PLAIN_TYPES:
            connection.adapters.register_loader(known.oid, text)
    json = _loader(lambda data: canonical_json(data.decode(encoding or "utf-8", "surrogateescape")))
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, json)
    _register_times(connection)


def _use_own_encoding(connection: Any) -> str | None:
    """Lets the server send texts as they are; returns Python's name of their encoding.

    None where that is UTF-8, which the server has checked. It would refuse a whole page for one
    text that it cannot convert.
    """
    from psycopg._encodings import pg2pyenc  # noqa: PLC0415

    own = connection.info.parameter_status("server_encoding")
    if connection.info.parameter_status("client_encoding") != own:
        connection.execute(f"SET client_encoding TO '{own}'")
        connection.commit()
    if own == "UTF8":
        return None
    return "utf-8" if own == "SQL_ASCII" else pg2pyenc(own.encode())


def _loader(load: Callable[[bytes], object]) -> Any:
    from psycopg.adapt import Loader  # noqa: PLC0415

    class ValueLoader(Loader):
        def load(self, data: Any) -> Any:
            return load(bytes(data))

    return ValueLoader


class _Array(list[object]):
    """An array, whose text is the database's own; SQLAlchemy's look into the catalog needs it."""

    text: str

    def __str__(self) -> str:
        return self.text


def _array_loader(oid: int, encoding: str | None) -> Any:
    import psycopg  # noqa: PLC0415
    from psycopg.adapt import Loader  # noqa: PLC0415
    from psycopg.pq import Format  # noqa: PLC0415

    inner: Any = psycopg.adapters.get_loader(oid, Format.TEXT)
    assert inner is not None  # psycopg has one for each  # noqa: S101

    class ArrayLoader(Loader):
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = inner(oid, context).load

        def load(self, data: Any) -> Any:
            text = bytes(data).decode(encoding or "utf-8", "surrogateescape")
            try:
                array = _Array(self._load(data))
            except (psycopg.DataError, ValueError):
                return text
            array.text = text
            return array

    return ArrayLoader


def _register_times(connection: Any) -> None:
    import psycopg  # noqa: PLC0415
    from psycopg.adapt import Dumper, Loader  # noqa: PLC0415
    from psycopg.pq import Format  # noqa: PLC0415

    class UnreadableDumper(Dumper):
        def dump(self, obj: Unreadable) -> bytes:
            return obj.text.encode()

    connection.adapters.register_dumper(Unreadable, UnreadableDumper)
    for name in ("date", "timestamp", "timestamptz", "time", "timetz"):
        oid = psycopg.adapters.types[name].oid
        inner: Any = psycopg.adapters.get_loader(oid, Format.TEXT)
        assert inner is not None  # psycopg always has these  # noqa: S101

        class SafeLoader(Loader):
            def __init__(self, oid: int, context: Any = None, _inner: Any = inner) -> None:
                super().__init__(oid, context)
                self._load = _inner(oid, context).load

            def load(self, data: Any) -> Any:
                try:
                    return self._load(data)
                except psycopg.DataError:
                    return Unreadable(bytes(data).decode())

        connection.adapters.register_loader(name, SafeLoader)
