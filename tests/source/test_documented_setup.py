"""The statements of docs/databases.md: run as they stand, they give a source that works."""

import re
import secrets
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from cdc_sync.source.dialects import dialect_of
from cdc_sync.source.engine import open_source

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "databases.md").read_text()
HEADS = {"postgresql": "PostgreSQL", "mysql": "MySQL and MariaDB", "sqlite": "SQLite"}
CONTRACTS = sa.select(sa.text("*")).select_from(sa.table("contracts"))
GOODBYE = {
    "postgresql": ["DROP OWNED BY {}", "DROP ROLE {}"],
    "mysql": ["DROP USER {}"],
    "sqlite": [],
}
TABLE = "CREATE TABLE contracts (id INTEGER PRIMARY KEY, plan VARCHAR(40))"


def _blocks(head: str) -> list[str]:
    section = re.split(rf"^## {head}\n", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    return re.findall(r"^```sql\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def _statements(block: str) -> list[str]:
    """Each by itself: `;` at a line's end closes one, but within a body of BEGIN … END."""
    return re.findall(r"(?:[^;]|;(?!\n))*?BEGIN\n(?:.|\n)*?END;\n|(?:[^;]|;(?!\n))+;\n", block)


@pytest.fixture
def set_up(source_url: str):
    """The source after every statement, the one who owns it, and the reader's name."""
    engine = sa.create_engine(source_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = make_url(source_url).get_backend_name()
    reader = f"reader_{secrets.token_hex(4)}"  # servers are shared, and users are a server's
    with engine.connect() as owner:
        owner.exec_driver_sql(TABLE)
        owner.exec_driver_sql("INSERT INTO contracts (id, plan) VALUES (1, 'Gold')")
        for statement in (one for block in _blocks(HEADS[name]) for one in _statements(block)):
            owner.exec_driver_sql(statement.replace("reader", reader))
        yield source_url, owner, reader
        for statement in GOODBYE[name]:
            owner.exec_driver_sql(statement.format(reader))
    engine.dispose()


def _stamp(owner: sa.Connection, number: int) -> Any:
    return owner.exec_driver_sql(f"SELECT updated_at FROM contracts WHERE id = {number}").scalar()


def test_every_change_moves_the_watermark(set_up) -> None:
    _, owner, _ = set_up
    first = _stamp(owner, 1)
    owner.exec_driver_sql("UPDATE contracts SET plan = 'Silver' WHERE id = 1")
    owner.exec_driver_sql("INSERT INTO contracts (id, plan) VALUES (2, 'Gold')")

    assert first is not None
    assert _stamp(owner, 1) > first
    assert _stamp(owner, 2) >= _stamp(owner, 1)


def test_the_reader_sees_the_rows_and_the_horizon(set_up) -> None:
    url, owner, reader_name = set_up
    if owner.dialect.name == "sqlite":
        pytest.skip("a file has no users, and SQLite no horizon")
    reader_url = make_url(url).set(username=reader_name, password="change-me")
    engine = open_source(reader_url.render_as_string(hide_password=False))
    with engine.connect() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM contracts").scalar() == 1
        snapshot = dialect_of(engine.url).open_transactions(reader, CONTRACTS)
        assert snapshot.unavailable_reason is None
    engine.dispose()


@pytest.mark.parametrize("source_url", ["postgresql"], indirect=True)
def test_a_change_is_notified(set_up) -> None:
    url, owner, _ = set_up
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as listener:
        listener.execute("LISTEN contracts_changed")
        owner.exec_driver_sql("DELETE FROM contracts WHERE id = 1")

        heard = next(listener.notifies(timeout=20, stop_after=1), None)

    assert heard is not None
