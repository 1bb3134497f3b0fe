"""Connections to a source that end, are shared, or lead to another file than before."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from cdc_sync.errors import SourceUnavailable
from tests.support.rows import Rows, rows_in
from tests.support.wait import wait_until


def end_other_connections(url: str) -> None:
    """Ends every connection to this database, as a firewall or an idle timeout does."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as admin:
        if engine.dialect.name == "postgresql":
            admin.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        ids = admin.exec_driver_sql(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = database() AND id <> connection_id()"
        )
        for (number,) in ids.all():
            admin.exec_driver_sql(f"KILL {number}")


@pytest.mark.parametrize("source_url", ["postgresql", "mariadb"], indirect=True)
def test_a_connection_that_ended_while_idle_is_replaced_at_once(source_url, open_source):
    with rows_in(source_url) as rows:
        rows.add({"id": 1})
        source = open_source(rows.url)
        with source.scan() as first, source.scan() as second:
            assert len(first.full_page(None).rows) == len(second.full_page(None).rows) == 1
        end_other_connections(rows.url)
        for _ in range(2):
            with source.scan() as scan:
                assert len(scan.full_page(None).rows) == 1


def test_a_sqlite_file_that_was_replaced_is_read_anew(tmp_path: Path, open_source):
    old, new = tmp_path / "source.db", tmp_path / "new.db"
    Rows(f"sqlite:///{old}").add({"id": 1})
    source = open_source(f"sqlite:///{old}")
    with source.scan() as scan:
        assert [row.source_id for row in scan.full_page(None).rows] == ["1"]

    shutil.copy(old, new)
    Rows(f"sqlite:///{new}").add({"id": 2})
    new.rename(old)  # as a nightly export replaces its file
    with source.scan() as scan:
        assert [row.source_id for row in scan.full_page(None).rows] == ["1", "2"]


def test_a_sqlite_file_that_was_removed_is_missed_by_the_next_scan(tmp_path: Path, open_source):
    file = tmp_path / "source.db"
    Rows(f"sqlite:///{file}").add({"id": 1})
    source = open_source(f"sqlite:///{file}")
    with source.scan():
        pass

    file.unlink()
    with pytest.raises(SourceUnavailable, match="cannot be opened"), source.scan():
        pass


@pytest.mark.parametrize("source_url", ["postgresql", "mariadb"], indirect=True)
def test_a_statement_that_waits_for_a_lock_is_cancelled(source_url, open_source):
    with rows_in(source_url) as rows:
        rows.add({"id": 1})
        source, outcome = open_source(rows.url), []

        def read() -> None:
            try:
                with source.scan() as scan:
                    outcome.append(scan.full_page(None))
            except SourceUnavailable as error:
                outcome.append(error)

        with locked(rows.url) as waits:
            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            wait_until(waits, "the reader waits for the lock")
            source.cancel()
            reader.join(20)

    assert isinstance(outcome[0], SourceUnavailable)


@contextmanager
def locked(url: str) -> Iterator[Callable[[], bool]]:
    """Locks the table as a migration does; gives whether somebody waits for that."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    is_postgresql = engine.dialect.name == "postgresql"
    lock = "LOCK TABLE contracts" if is_postgresql else "LOCK TABLES contracts WRITE"
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted"
        if is_postgresql
        else "SELECT count(*) FROM information_schema.processlist"
        " WHERE db = database() AND left(state, 11) = 'Waiting for'"
    )
    with engine.connect() as owner, engine.connect() as other:
        owner.exec_driver_sql(lock)
        yield lambda: bool(other.exec_driver_sql(waiting).scalar_one())
