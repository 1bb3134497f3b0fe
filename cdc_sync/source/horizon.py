"""The horizon of a scan that has not begun, in the watermark column's own values."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, exc
from sqlalchemy import text as sql

from cdc_sync.config.model import SourceConfig
from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import (
    Glance,
    Horizon,
    Pair,
    Pairs,
    Remembered,
    Sight,
    Unfinished,
    WatermarkType,
    look,
)
from cdc_sync.source.columns import WatermarkColumn
from cdc_sync.source.statements import Statements

# How far behind its sight a source is looked back at where `lookback` is a number.
_LOOKBACK = timedelta(minutes=5)
_CLOCK = {
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
_NO_PROCESS = 1227  # ER_SPECIFIC_ACCESS_DENIED_ERROR
_SELF = (
    "SELECT pg_is_in_recovery(), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),"
    " current_user, statement_timestamp(),"
    " EXISTS (SELECT FROM pg_subscription_rel AS fed WHERE fed.srrelid = to_regclass(:rows)"
    "  OR NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(:rows) AND relkind = 'r')),"
    " {server}"
)
_POSTGRESQL_SELF = sql(
    _SELF.format(
        server="(SELECT system_identifier || '/' || timeline_id || '/' || current_database()"
        " FROM pg_control_system(), pg_control_checkpoint())"
    )
)
_POSTGRESQL_SELF_NAMELESS = sql(_SELF.format(server="NULL"))
_NAMELESS = "the server hides its control file"
# What the view pg_stat_activity reads, without its joins, which take longer than all the rest. A
# session's times are there only for who may see them; without, they are NULL, not missing.
_POSTGRESQL_SESSIONS = sql(
    "SELECT statement_timestamp(), session.* FROM (SELECT) AS one LEFT JOIN LATERAL ("
    " SELECT pid, backend_start, pg_get_userbyid(usesysid) AS usename, application_name,"
    "  least(xact_start, CASE WHEN state <> 'idle' THEN query_start END) AS started,"
    "  (backend_type IS NULL OR state = 'disabled') AS blind"
    " FROM pg_stat_get_activity(NULL)"
    " WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    "  AND pid <> pg_backend_pid()"
    "  AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'autovacuum launcher')"
    ") AS session ON session.started IS NOT NULL OR session.blind"
)
_POSTGRESQL_PREPARED = sql(
    "SELECT transaction::text, gid, owner FROM pg_prepared_xacts"
    " WHERE database = current_database()"
)
_MYSQL_SELF = sql(
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN"
    " ('read_only', 'wsrep_on', 'hostname', 'server_id', 'server_uuid')"
)
# trx_started is written in the zone of the server's host, whatever the session's is.
_MYSQL_TRANSACTIONS = sql(
    "SELECT trx_id, trx_mysql_thread_id,"
    " CONVERT_TZ(trx_started, 'SYSTEM', '+00:00') AS started FROM information_schema.INNODB_TRX"
    " WHERE trx_mysql_thread_id <> CONNECTION_ID()"
)
_MYSQL_STATEMENTS = sql(
    "SELECT id, user, UTC_TIMESTAMP() - INTERVAL time + 1 SECOND AS started"
    " FROM information_schema.PROCESSLIST WHERE id <> CONNECTION_ID() AND time IS NOT NULL"
    " AND command IN ('Query', 'Execute', 'Long Data')"
)


def read_horizon(  # one argument a fact
    connection: Connection,
    statements: Statements,
    column: WatermarkColumn,
    config: SourceConfig,
    remembered: Remembered,
    ours: datetime,
) -> Horizon:
    """The horizon; to be asked before the first page, with what the one before remembered.

    `ours` is our own clock, by which a source's clock that falls back is noticed. Raises
    SourceMistake for a lookback that does not fit the column.
    """
    seen = glance(connection, _rows(connection, config), lambda: source_clock(connection))
    sight = look(
        seen,
        remembered.memory,
        ours=ours,
        margin=config.clock_margin,
        lookback=_lookback(config, column),
        long_after=config.long_transaction,
    )
    horizon = Horizon(
        value=sight.value,
        clock=seen.clock,
        basis="horizon" if seen.blind is None else "lookback",
        reason=seen.blind,
        hint=seen.hint,
        ahead=sight.ahead,
        holders=sight.holders,
        remembered=Remembered(sight.memory),
        afresh=sight.afresh,
    )
    if column.type is not WatermarkType.INTEGER:
        return horizon
    greatest = partial(_greatest, connection, statements, column)
    if isinstance(config.lookback, int):
        return _behind(horizon, greatest(), config.lookback)
    pairs = Pairs() if sight.afresh else remembered.pairs
    return _aged_numbers(
        horizon, sight, pairs, _next_pairs(pairs, sight, greatest, lambda: source_clock(connection))
    )


def _aged_numbers(horizon: Horizon, sight: Sight, pairs: Pairs, next_pairs: Pairs) -> Horizon:
    return replace(
        horizon,
        value=_aged(pairs.all, sight.value),
        ahead=_aged(pairs.young, sight.ahead),
        remembered=Remembered(sight.memory, next_pairs),
    )


def _lookback(config: SourceConfig, column: WatermarkColumn) -> timedelta:
    if isinstance(config.lookback, timedelta):
        return config.lookback
    if column.type is WatermarkType.INTEGER:
        return _LOOKBACK
    raise SourceMistake(
        f"`source.lookback` is a number, and the column {config.watermark} holds times.",
        hint="Write it as a duration, as in: 5m",
    )


def _behind(horizon: Horizon, greatest: int | None, lookback: int) -> Horizon:
    value = None if greatest is None else greatest - lookback
    return replace(
        horizon,
        value=value,
        ahead=value,
        holders=(),
        basis="lookback",
        reason="`source.lookback` is a number",
        hint=None,
    )


def source_clock(connection: Connection) -> datetime:
    """The source's own time, as an instant."""
    backend = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    raw = connection.exec_driver_sql(_CLOCK[backend]).scalar_one()
    value = datetime.fromisoformat(raw) if isinstance(raw, str) else raw
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def _rows(connection: Connection, config: SourceConfig) -> str | None:
    if config.table is None:
        return None
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in config.table.rpartition(".") if part not in ("", "."))


def _aged(pair: Pair | None, instant: datetime | None) -> int | None:
    """A number has an order but no clock: the greatest one of so long ago is the horizon."""
    return None if pair is None or instant is None or instant <= pair.at else pair.value


def _next_pairs(
    pairs: Pairs,
    sight: Sight,
    greatest: Callable[[], int | None],
    clock: Callable[[], datetime],
) -> Pairs:
    """What was aged has served, and a new pair takes its place."""
    old = pairs.all is None or _aged(pairs.all, sight.value) is not None
    old_young = pairs.young is None or _aged(pairs.young, sight.ahead) is not None
    number = greatest() if old or old_young else None
    if number is None:
        return pairs
    # The clock after the number: whatever is unfinished and smaller than it began before then.
    new = Pair(number, clock())
    return Pairs(new if old else pairs.all, new if old_young else pairs.young)


def _greatest(
    connection: Connection, statements: Statements, column: WatermarkColumn
) -> int | None:
    greatest: WatermarkValue | None = column.value_of(
        connection.execute(statements.greatest_number()).scalar()
    )
    return greatest if isinstance(greatest, int) else None


def glance(connection: Connection, rows: str | None, clock: Callable[[], datetime]) -> Glance:
    """What is unfinished now; `rows` is the table as SQL writes it, None for a query."""
    backend = connection.dialect.name
    if backend == "postgresql":
        return _postgresql(connection, rows)
    if backend in ("mysql", "mariadb"):
        return _mysql(connection, clock)
    return Glance(clock(), blind="SQLite does not tell which transactions are unfinished")


def _postgresql(connection: Connection, rows: str | None) -> Glance:
    standby, privileged, user, clock, fed, server = _postgresql_self(connection, rows)
    if standby:
        why = "the source is a standby, which does not see the primary's transactions"
        return Glance(clock, (), server, why, "Point `source.url` at the primary.")
    if not privileged:
        why = f'"{user}" may not see when others\' transactions began'
        return Glance(clock, (), server, why, f'GRANT pg_read_all_stats TO "{user}";')
    if fed:
        why = "the table is fed by a logical subscription, whose stamps are another server's"
        return Glance(clock, (), server, why)
    sessions = connection.execute(_POSTGRESQL_SESSIONS).all()
    prepared = connection.execute(_POSTGRESQL_PREPARED).all()
    if hidden := sum(bool(session.blind) for session in sessions):
        why = f"{hidden} session(s) do not show their transactions"
        return Glance(clock, (), server, why, "Set track_activities = on for every role.")
    found = [
        Unfinished(
            f"{one.pid} {one.backend_start} {one.started}",
            f"session {one.pid} of {one.usename or 'the server'}"
            f"{f' ({one.application_name})' if one.application_name else ''},"
            f" open since {_written(one.started)}",
            one.started,
        )
        for one in sessions
        if one.started is not None
    ]
    found += [
        Unfinished(key, f'the prepared transaction "{gid}" of {owner}', None)
        for key, gid, owner in prepared
    ]
    return Glance(min(clock, sessions[0][0]), tuple(found), server)


def _postgresql_self(connection: Connection, rows: str | None) -> Any:
    if not connection.info.get(_NAMELESS):
        try:
            return connection.execute(_POSTGRESQL_SELF, {"rows": rows}).one()
        except exc.DBAPIError as error:
            if connection.invalidated or error.connection_invalidated:
                raise
            connection.info[_NAMELESS] = True  # asked once, for its log has each refusal
    return connection.execute(_POSTGRESQL_SELF_NAMELESS, {"rows": rows}).one()


def _mysql(connection: Connection, clock: Callable[[], datetime]) -> Glance:
    now = clock()
    own = {str(name).lower(): str(value) for name, value in connection.execute(_MYSQL_SELF)}
    server = f"{own.get('hostname')}/{own.get('server_uuid') or own.get('server_id')}"
    if own.get("read_only", "OFF") not in ("OFF", "0"):
        why = "the source is a replica (read_only), which does not see its master's transactions"
        return Glance(now, (), None, why, "Point `source.url` at the primary.")
    if own.get("wsrep_on", "OFF") == "ON":
        why = "the source is a Galera node, which does not see the others' transactions"
        return Glance(now, (), None, why)
    try:
        running = connection.execute(_MYSQL_STATEMENTS).all()
        open_ones = connection.execute(_MYSQL_TRANSACTIONS).all()
    except exc.DBAPIError as error:
        if error.orig is None or error.orig.args[:1] != (_NO_PROCESS,):
            raise
        user = connection.exec_driver_sql("SELECT CURRENT_USER()").scalar_one()
        name, _, host = str(user).rpartition("@")
        why = f"{user} may not see others' transactions"
        return Glance(now, (), server, why, f"GRANT PROCESS ON *.* TO '{name}'@'{host}';")
    found = [
        Unfinished(
            f"statement {one.id} {one.started}",
            f"a statement of {one.user} (connection {one.id}), since {_written(_utc(one.started))}",
            _utc(one.started),
        )
        for one in running
    ]
    found += [
        Unfinished(
            f"transaction {one.trx_id} {one.started}",
            f"a transaction of connection {one.trx_mysql_thread_id},"
            f" open since {_written(_utc(one.started))}",
            _utc(one.started),
        )
        for one in open_ones
    ]
    return Glance(now, tuple(found), server)


def _utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
