"""The horizon of real sources: open transactions are seen, or the reason why not is given."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cdc_sync.rules.watermark import CarryOver, ExactHorizon, Horizon, Sample, Samples
from cdc_sync.source.dialects.sqlite import SQLite
from cdc_sync.source.horizon import read_horizon
from cdc_sync.source.reader import Source
from tests.support.mariadb import MariaDBServer, mariadb_server
from tests.support.rows import LONG_AGO, Rows, rows_in
from tests.support.servers import mariadb_database, reader_of
from tests.support.wait import wait_until

SHORT = {"clock_margin": "2s", "long_transaction": "1h"}


def ask(source: Source, carry_over: CarryOver | None = None) -> Horizon:
    with source.scan() as scan:
        return read_horizon(scan, carry_over or CarryOver(), datetime.now(UTC))


def ask_until(source: Source, held_back_by: str) -> Horizon:
    """Its answer when this holds it back: what other tests have open may be older at first."""
    asked: list[Horizon] = []

    def is_it() -> bool:
        asked.append(ask(source))
        return held_back_by in str(asked[-1].held_back_by)

    wait_until(is_it, f"held back by {held_back_by}")
    return asked[-1]


@pytest.fixture
def pg(postgresql_url: str) -> Iterator[Rows]:
    with rows_in(postgresql_url) as rows:
        rows.add({"id": 1, "updated_at": LONG_AGO})
        yield rows


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        yield connection


def test_it_lies_a_margin_behind_the_sources_clock(source_url, open_source):
    with rows_in(source_url) as rows:
        horizon = ask(open_source(rows.url, lookback="5m", **SHORT))

    assert abs(horizon.clock - datetime.now(UTC)) < timedelta(minutes=1)
    behind = {"horizon": timedelta(seconds=2), "lookback": timedelta(minutes=5)}[horizon.basis]
    assert behind <= horizon.clock - horizon.value <= behind + timedelta(seconds=2)
    assert (horizon.basis == "lookback") == source_url.startswith("sqlite")


def test_an_open_transaction_holds_it_back_and_is_named(pg, open_source):
    source = open_source(
        reader_of(pg.url, privileged=True), clock_margin="2s", long_transaction="0s"
    )
    with session(pg.url) as writer:
        began = writer.execute("SELECT now()").fetchone()[0]
        pid = writer.info.backend_pid
        held = ask(source)
        assert held.value <= began - timedelta(seconds=2)
        assert held.ahead > held.value or held.ahead == held.clock - timedelta(seconds=2)
        assert f"session {pid} of postgres" in held.held_back_by
    free = ask(source, held.carry_over)
    assert free.held_back_by is None


def test_a_prepared_transaction_holds_it_where_it_was(pg, open_source):
    source = open_source(reader_of(pg.url, privileged=True), **SHORT)
    before = ask(source)
    with session(pg.url) as writer:
        writer.execute("INSERT INTO contracts (id) VALUES (2)")
        writer.execute("PREPARE TRANSACTION 'nightly'")
        writer.autocommit = True
        held = ask(source, before.carry_over)
        assert held.value == before.value
        assert '"nightly"' in held.held_back_by
        assert ask(source).value is None  # nobody knows since when
        writer.execute("COMMIT PREPARED 'nightly'")
    assert ask(source, held.carry_over).value > before.value


def test_without_the_privilege_it_says_what_to_grant(pg, open_source):
    horizon = ask(open_source(reader_of(pg.url, privileged=False), lookback="5m"))

    assert horizon.basis == "lookback"
    assert "may not see" in horizon.reason
    assert horizon.hint.startswith('GRANT pg_read_all_stats TO "reader_')
    assert horizon.clock - horizon.value == timedelta(minutes=5)


def test_a_privilege_that_is_revoked_is_noticed_at_the_next_question(pg, open_source):
    url = reader_of(pg.url, privileged=True)
    role = sa.make_url(url).username
    with open_source(url).scan() as scan:
        now = datetime.now(UTC)
        assert read_horizon(scan, CarryOver(), now).basis == "horizon"
        pg.execute(f"REVOKE pg_read_all_stats FROM {role}")
        assert read_horizon(scan, CarryOver(), now).basis == "lookback"


def test_a_session_that_hides_its_transactions_makes_lookback_apply(pg, open_source):
    source = open_source(reader_of(pg.url, privileged=True), **SHORT)
    with session(pg.url) as writer:
        writer.execute("SET track_activities = off")
        writer.commit()
        horizon = ask(source)
    assert (horizon.basis, "do not show" in horizon.reason) == ("lookback", True)


def test_another_server_starts_a_new_horizon(pg, open_source, postgresql_url):
    first = ask(open_source(pg.url))
    state = first.carry_over.state
    other = type(state)(state.value, {}, "another", state.clock, state.ours)

    assert not ask(open_source(pg.url), first.carry_over).source_changed
    assert ask(open_source(pg.url), CarryOver(other)).source_changed


@pytest.mark.usefixtures("mariadb")
def test_a_mariadb_shows_its_transactions_and_says_what_to_grant(open_source):
    with mariadb_database() as url, rows_in(url) as rows:
        rows.add({"id": 1, "updated_at": LONG_AGO})
        engine = sa.create_engine(url, isolation_level="REPEATABLE READ")
        name = f"r{sa.make_url(url).database[:12]}"
        with engine.connect() as writer:
            writer.exec_driver_sql(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'r'")
            try:
                writer.exec_driver_sql(f"GRANT SELECT ON *.* TO {name}@'127.0.0.1'")
                reader = sa.make_url(url).set(username=name, password="r")
                source = open_source(reader.render_as_string(hide_password=False), **SHORT)
                unprivileged = ask(source)
                assert "may not see" in unprivileged.reason
                assert unprivileged.hint.startswith("GRANT PROCESS ON *.* TO")
                began = datetime.now(UTC)
                writer.exec_driver_sql("START TRANSACTION")
                writer.exec_driver_sql("UPDATE contracts SET account_name = 'late' WHERE id = 1")
                ours = open_source(url, clock_margin="2s", long_transaction="0s")
                us = writer.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
                held = ask_until(ours, f"a transaction of connection {us},")
                assert held.basis == "horizon"
                assert held.value <= began - timedelta(seconds=1)
                writer.rollback()
            finally:
                writer.exec_driver_sql(f"DROP USER {name}@'127.0.0.1'")
        engine.dispose()


def test_a_numbers_horizon_is_the_greatest_of_before_all_that_is_open(source_url, open_source):
    with rows_in(source_url, sa.Column("updated_at", sa.BigInteger)) as rows:
        rows.add({"id": 1, "updated_at": 70})
        source = open_source(rows.url, lookback="1h")
        first = ask(source)
        assert (first.value, first.carry_over.samples.all.value) == (None, 70)
        young = ask(source, first.carry_over)
        assert (young.value, young.carry_over.samples) == (None, first.carry_over.samples)
        pair = Sample(60, first.carry_over.samples.all.at - timedelta(hours=2))
        aged = ask(source, CarryOver(first.carry_over.state, Samples(pair, pair)))
        assert (aged.value, aged.ahead) == (60, 60)
        assert aged.carry_over.samples.all.value == 70


@pytest.fixture
def own_mariadb(tmp_path: Path) -> Iterator[Callable[..., MariaDBServer]]:
    """Starts MariaDB servers of the test's own, with a table of contracts."""
    with ExitStack() as closing:

        def started(name: str, *options: str, zone: str = "UTC") -> MariaDBServer:
            server = closing.enter_context(mariadb_server(tmp_path / name, *options, zone=zone))
            rows = closing.enter_context(rows_in(server.url))
            rows.add({"id": 1, "updated_at": LONG_AGO})
            return server

        yield started


def test_a_mariadb_replica_that_may_be_written_to_is_no_primary(own_mariadb, open_source):
    primary, replica = own_mariadb("primary", "--log-bin"), own_mariadb("replica")
    for server in (primary, replica):
        server.execute(
            "CREATE USER reader IDENTIFIED BY 'r'",
            "GRANT SELECT, PROCESS ON *.* TO reader",
            "GRANT REPLICATION SLAVE ON *.* TO reader",
        )
    follow = (
        f"CHANGE MASTER TO master_host = '127.0.0.1', master_port = {primary.port},"
        " master_user = 'reader', master_password = 'r', master_use_gtid = no"
    )
    replica.execute(follow)
    by_reader = open_source(replica.url.replace("root", "reader:r"), **SHORT)
    by_root = open_source(replica.url, **SHORT)
    stopped = ask(by_root)
    assert (stopped.basis, "is a replica" in stopped.reason) == ("lookback", True)
    assert "RESET REPLICA ALL" in stopped.hint

    replica.execute("START SLAVE")
    running = ask(by_reader)
    assert (running.basis, "is a replica" in running.reason) == ("lookback", True)
    assert running.hint == "Point `source.url` at the primary."
    assert ask(open_source(primary.url, **SHORT)).basis == "horizon"

    replica.execute("STOP SLAVE", "RESET SLAVE ALL")
    assert ask(by_root).basis == "horizon"


def test_a_mariadb_event_that_waits_is_a_running_statement(own_mariadb, open_source):
    server = own_mariadb("server")
    source = open_source(server.url, clock_margin="2s", long_transaction="0s")
    with server.connect() as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES erp.contracts READ")
        server.execute(
            "SET GLOBAL event_scheduler = ON",
            "CREATE EVENT erp.nightly ON SCHEDULE AT now()"
            " DO UPDATE erp.contracts SET account_name = 'late'",
        )
        assert "a statement of root" in ask_until(source, "a statement of root").held_back_by


def test_a_horizon_that_the_database_tells_is_taken_as_it_is(tmp_path, open_source, monkeypatch):
    (tmp_path / "source.db").touch()
    told = [ExactHorizon(7, LONG_AGO, "one"), ExactHorizon(3, LONG_AGO, "restored")]
    monkeypatch.setattr(SQLite, "exact_horizon", lambda *_: told.pop(0))
    with rows_in(
        f"sqlite:///{tmp_path / 'source.db'}", sa.Column("updated_at", sa.Integer)
    ) as rows:
        rows.add({"id": 1, "updated_at": 9})
        source = open_source(rows.url)
        first = ask(source)
        then = ask(source, first.carry_over)

    assert (first.basis, first.value, first.ahead, first.reason) == ("horizon", 7, 7, None)
    assert (then.value, then.source_changed) == (3, True)
