"""Tables and columns whose names SQL would read otherwise."""

from datetime import date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from cdc_sync.source.inspection import open_catalog
from tests.support.bench import Bench
from tests.support.sandbox import Sandbox

NAMES = [
    # table, as the configuration has it, id, watermark, account
    ("order", "order", "user", "collation", "lateral"),
    ("select", "select", "portion", "returning", "end"),
    ("contracts.v2", '"contracts.v2"', "id", "updated at", "account.name"),
    ("10%_off", "10%_off", "id%s", "100%", "%(name)s"),
    ("Mixed Case", "Mixed Case", "Id", "UpdatedAt", "Account`Name"),
]


def make_table(url: str, table: str, *columns: str) -> None:
    key, stamp, account = (sa.quoted_name(name, quote=True) for name in columns)
    made = sa.Table(
        sa.quoted_name(table, quote=True),
        sa.MetaData(),
        sa.Column(key, sa.Integer, primary_key=True, key="key"),
        sa.Column(stamp, sa.DateTime, key="stamp"),
        sa.Column(account, sa.String(50), key="account"),
        sa.Column("start_date", sa.Date, key="start"),
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as tx:
        made.create(tx)
        values = {"key": 1, "stamp": datetime(2026, 1, 2), "account": "ACME"}
        tx.execute(made.insert().values(start=date(2024, 1, 1), **values))


@pytest.mark.parametrize("names", NAMES, ids=[names[0] for names in NAMES])
def test_every_name_is_taken_as_it_is(tmp_path: Path, sandbox: Sandbox, source_url: str, names):
    table, configured, key, stamp, account = names
    make_table(source_url, table, key, stamp, account)
    with Bench(tmp_path, sandbox, source_url) as bench:
        bench.configure(
            source={"table": configured, "id": key, "watermark": stamp},
            mapping={
                "reference": "erp-{" + key + "}",
                "account": account,
                "start": "start_date",
                "end": None,
                "description": None,
            },
        )
        checked = bench.run("check")
        bench.sync_once()
        report = bench.reconcile()

    assert "WRONG" not in checked.out, checked.out
    assert sandbox.contracts()["erp-1"]["account"] == "ACME"
    assert (report.rows, report.changed, report.error) == (1, 0, None)


def test_a_name_with_a_dot_is_offered_so_that_it_works(source_url: str):
    make_table(source_url, "contracts.v2", "id", "updated_at", "account")
    with open_catalog(source_url) as catalog:
        assert '"contracts.v2"' in {table.name for table in catalog.tables()}
        assert catalog.rows('"contracts.v2"') == (1, True)


def test_no_index_of_a_partitioned_table_is_advised_concurrently(
    tmp_path: Path, sandbox: Sandbox, postgresql_url: str
):
    columns = "id int, account_name text, start_date date, end_date date, plan text"
    with sa.create_engine(postgresql_url, poolclass=sa.NullPool).begin() as tx:
        tx.exec_driver_sql(
            f"CREATE TABLE contracts ({columns}, updated_at timestamptz) PARTITION BY HASH (id)"
        )
        tx.exec_driver_sql(
            "CREATE TABLE part PARTITION OF contracts FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
    with Bench(tmp_path, sandbox, postgresql_url) as bench:
        assert "CREATE INDEX ON contracts (updated_at, id);" in bench.run("check").out
