"""A NOTIFY of the source is heard at once, and a listener that is cut comes back by itself."""

from pathlib import Path

import psycopg
import pytest

from tests.support.bench import Bench
from tests.support.rows import Rows, rows_in
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until


@pytest.fixture
def rows(postgresql_url: str):
    with rows_in(postgresql_url) as made:
        yield made


def notify(rows: Rows, source: psycopg.Connection, row_id: int) -> None:
    """As a trigger does it, in the transaction of the change."""
    with source.transaction():
        source.execute(
            "INSERT INTO contracts (id, account_name, start_date, plan, updated_at)"
            " VALUES (%s, 'ACME', '2024-01-01', 'Gold', now())",
            [row_id],
        )
        source.execute("SELECT pg_notify('Contracts changed', '')")


def test_a_notification_is_delivered_long_before_the_next_poll(
    tmp_path: Path, rows: Rows, sandbox: Sandbox
) -> None:
    bench = Bench(
        tmp_path,
        sandbox,
        rows.url,
        source={"notify_channel": "Contracts changed"},
        schedule={"poll": "10m", "reconcile": "never"},
        web={"listen": "none"},
    )
    plain = rows.url.replace("+psycopg", "")
    with bench.daemon_process() as daemon, psycopg.connect(plain, autocommit=True) as source:
        wait_until(lambda: "listener.ready" in daemon.log(), "it listens")
        notify(rows, source, 1)
        wait_until(lambda: "erp-1" in sandbox.contracts(), "the change is delivered", 5)

        source.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: daemon.log().count("listener.ready") == 2, "it listens again")
        notify(rows, source, 2)
        wait_until(lambda: "erp-2" in sandbox.contracts(), "the next is delivered, too", 5)
        assert "Traceback" not in daemon.log()
