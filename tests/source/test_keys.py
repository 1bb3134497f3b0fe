"""Every type of key pages through all rows, is found by its ids, or is refused with the reason."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine, UserDefinedType

from cdc_sync.errors import SourceMistake
from tests.support.bench import Bench
from tests.support.rows import LONG_AGO, Rows
from tests.support.sandbox import Sandbox


class Untyped(UserDefinedType[object]):
    """A column of SQLite that has any value as it is."""

    cache_ok = True

    def get_col_spec(self) -> str:
        return "ANY_VALUE BLOB"


BINARY_UUIDS = [bytes([n]) * 15 + b"\xff" for n in (0, 1, 39, 65, 128, 255)]
MARIADB = {
    "enum": (mysql.ENUM("us", "eu", "asia"), ["us", "eu", "asia"]),
    "set": (mysql.SET("b", "a"), [{"b"}, {"a"}, {"a", "b"}]),
    "binary": (mysql.BINARY(16), BINARY_UUIDS),
    "varbinary": (mysql.VARBINARY(16), [b"", b"a", b"\x00", b"A\xff", b"b"]),
    "time": (mysql.TIME(fsp=6), ["-100:00:00", "-00:00:01", "09:00:00", "09:00:00.5", "26:00:00"]),
    "double": (mysql.DOUBLE(), [0.1, 0.1 + 1e-16, 1 / 3, 1e300, -2.5]),
    "decimal": (mysql.DECIMAL(30, 10), ["0.1000000000", "12345678901234567890.5"]),
    "uuid": (mysql.CHAR(36), ["00000000-0000-0000-0000-000000000001", "f" * 36]),
    "text": (mysql.VARCHAR(9), ["a", "b ", "ö", "z%", "'"]),
}
POSTGRESQL = {
    "bytea": (postgresql.BYTEA(), BINARY_UUIDS),
    "enum": (postgresql.ENUM("us", "eu", "asia", name="region"), ["us", "eu", "asia"]),
    "float8": (postgresql.DOUBLE_PRECISION(), [0.1, 1 / 3, 1e300, -2.5]),
    "interval": (postgresql.INTERVAL(), ["1 day", "24:00:01", "-1 mon", "1 year"]),
    "time": (postgresql.TIME(), ["09:00", "09:00:00.5", "24:00"]),
    "bool": (sa.Boolean(), [True, False]),
    "inet": (postgresql.INET(), ["192.0.2.1", "192.0.2.0/24", "::1"]),
}
SQLITE = {
    "mixed": (Untyped(), [1, 2.5, "17", "a", b"\x00\xff", b"ab"]),
    "blob": (sa.LargeBinary(), BINARY_UUIDS),
}
CASES = [
    *(pytest.param("mariadb", *case, id=f"mariadb {name}") for name, case in MARIADB.items()),
    *(pytest.param("postgresql", *case, id=f"pg {name}") for name, case in POSTGRESQL.items()),
    *(pytest.param("sqlite", *case, id=f"sqlite {name}") for name, case in SQLITE.items()),
]
ROWS_OF_EACH = 3


def rows_by(source_url: str, type_: TypeEngine[object], values: list[object]) -> Rows:
    """Rows with the key (part, id), three of each value."""
    rows = Rows(source_url, sa.Column("part", type_, primary_key=True))
    keys = [(part, n) for part in values for n in range(ROWS_OF_EACH)]
    rows.add(*({"part": part, "id": n} for part, n in keys))
    return rows


def every(page_after):
    rows, after = [], None
    for _ in range(100):
        page = page_after(after)
        rows += page.rows
        after = page.next
        if after is None:
            return rows
    pytest.fail("the pages did not end")


@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize("as_query", [False, True], ids=["table", "query"])
@pytest.mark.parametrize(("source_url", "type_", "values"), CASES, indirect=["source_url"])
def test_a_key_pages_through_every_row_and_finds_each(
    source_url, open_source, type_, values, as_query, page_size
):
    rows_by(source_url, type_, values)
    rows = {"query": "SELECT * FROM contracts"} if as_query else {}
    source = open_source(source_url, ("part",), id=["part", "id"], page_size=page_size, **rows)

    with source.scan() as scan:
        full = [row.source_id for row in every(scan.full_page)]
        polled = [row.source_id for row in every(lambda after: scan.changed_page(LONG_AGO, after))]
        assert len(set(full)) == len(full) == len(values) * ROWS_OF_EACH
        assert sorted(polled) == sorted(full)
        assert sorted(row.source_id for row in scan.existing(full)) == sorted(full)
        assert all(scan.find(source_id) is not None for source_id in full)


@pytest.mark.parametrize(
    ("source_url", "type_"),
    [
        ("mariadb", mysql.FLOAT()),
        ("mariadb", mysql.BIT(8)),
        ("postgresql", postgresql.REAL()),
    ],
    indirect=["source_url"],
)
def test_a_key_that_cannot_be_paged_is_refused(
    bench_at, source_url: str, type_: TypeEngine[object]
):
    bench = bench_at(source_url)
    bench.rows = Rows(source_url, sa.Column("part", type_, primary_key=True))
    bench.configure(source={"id": ["part", "id"]})

    for command in ("check", "once"):
        ran = bench.run(command)
        assert "The column part cannot be in the id" in ran.out + ran.err
        assert ran.code != 0


@pytest.fixture
def bench_at(tmp_path: Path, sandbox: Sandbox):
    benches: list[Bench] = []

    def opened(url: str) -> Bench:
        benches.append(Bench(tmp_path, sandbox, url))
        return benches[-1]

    yield opened
    for bench in benches:
        bench.close()


@pytest.mark.parametrize(
    ("source_url", "type_"),
    [
        ("mariadb", mysql.BINARY(16)),
        ("postgresql", postgresql.BYTEA()),
        ("sqlite", sa.LargeBinary()),
    ],
    indirect=["source_url"],
)
def test_contracts_with_binary_ids_are_sent_found_and_never_called_gone(
    bench_at, source_url: str, type_: TypeEngine[object]
):
    bench = bench_at(source_url)
    bench.configure(
        mapping={"reference": "erp-{id}"},
        deletes={"policy": "end"},
        guard={"max_changes": "50%", "min_contracts": 3},
    )
    bench.rows = Rows(source_url, sa.Column("id", type_, primary_key=True))
    bench.rows.add(*({"id": key, "account_name": "ACME"} for key in BINARY_UUIDS))
    bench.sync_once()
    assert bench.statuses() == {"synced": 6}
    assert {put.body["reference"] for put in bench.sandbox.puts()} == {
        f"erp-{key.hex()}" for key in BINARY_UUIDS
    }

    bench.rows.execute(sa.update(bench.rows.table).values(plan="Silver"))
    bench.rows.remove(BINARY_UUIDS[0])
    assert "6 held by the guard" in bench.run("reconcile").out
    bench.rows.execute(sa.update(bench.rows.table).values(plan="Gold"))
    bench.run("discard", "--yes")
    bench.run("once")

    shown = bench.run("contracts", "show", BINARY_UUIDS[1].hex())
    assert shown.code == 0
    assert "ACME" in shown.out
    assert sum(put.body.get("end") is not None for put in bench.sandbox.puts()) == 1


def test_a_minority_of_rows_that_is_not_found_by_id_calls_nothing_gone(open_source, tmp_path):
    """Texts of which a NUL is a part are written escaped in the id, and are not found by it."""
    url = f"sqlite:///{tmp_path / 'source.db'}"
    rows = Rows(url, sa.Column("id", sa.String(), primary_key=True))
    rows.add(*({"id": key} for key in ("a", "b", "c", "d\0e")))

    with open_source(url).scan() as scan:
        scan.full_page(None)
        with pytest.raises(SourceMistake, match="not found by their id"):
            scan.expect_found_by_id()
