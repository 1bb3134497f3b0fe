"""`make conformance` touches no table that is somebody's, and says what it found."""

import os
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[2]


def conformance(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.conformance"],
        cwd=ROOT,
        env={**os.environ, "CDC_SYNC_TEST_SOURCE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_schema_with_tables_is_left_alone(tmp_path):
    url = f"sqlite:///{tmp_path / 'erp.db'}"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as tx:
        tx.exec_driver_sql("CREATE TABLE contracts (id INTEGER)")
        tx.exec_driver_sql("INSERT INTO contracts VALUES (1)")

    ran = conformance(url)

    assert ran.returncode == 1
    assert "FAILED     a query is read like a table" in ran.stdout
    assert "the tests want an empty schema of their own" in ran.stdout
    with engine.begin() as tx:
        assert tx.exec_driver_sql("SELECT * FROM contracts").all() == [(1,)]


def test_without_a_database_it_asks_for_one():
    ran = conformance("")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "SOURCE_URL=" in ran.stderr
