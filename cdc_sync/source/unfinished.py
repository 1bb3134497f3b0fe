"""Asks a source which of its transactions are unfinished, and since when. One glance a poll.

Each statement stands alone (AUTOCOMMIT), on the connection that the scan then uses, and prepared
transactions are asked for after the sessions: one that is prepared in between is seen twice, not
never. Facts: PostgreSQL's "The Cumulative Statistics System", "pg_prepared_xacts"; MySQL's
"INFORMATION_SCHEMA INNODB_TRX Table".
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, exc
from sqlalchemy import text as sql

from cdc_sync.rules.watermark import Glance, Unfinished

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
