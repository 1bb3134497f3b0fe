"""Rows whose transactions are not those of the source have no horizon, however deep they are read."""

import psycopg
import pytest
import sqlalchemy as sa

from cdc_sync.source.inspection import open_catalog
from tests.source.test_horizon import ask
from tests.support.bench import Bench
from tests.support.rows import rows_in
from tests.support.servers import reader_of

SCHEMA = """
CREATE SCHEMA hidden;
CREATE EXTENSION file_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE remote (id int, account_name text, start_date date, updated_at timestamptz)
  SERVER elsewhere OPTIONS (filename '/dev/null');
CREATE TABLE parts (id int, account_name text, start_date date, updated_at timestamptz)
  PARTITION BY RANGE (id);
CREATE TABLE parts_here PARTITION OF parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE whole_parts (LIKE parts) PARTITION BY RANGE (id);
CREATE TABLE whole_parts_here PARTITION OF whole_parts FOR VALUES FROM (0) TO (1000);
CREATE FOREIGN TABLE parts_there PARTITION OF parts FOR VALUES FROM (1000) TO (2000)
  SERVER elsewhere OPTIONS (filename '/dev/null');
CREATE MATERIALIZED VIEW hidden.refreshed AS SELECT * FROM contracts;
CREATE VIEW hidden.lower AS SELECT * FROM hidden.refreshed;
CREATE VIEW upper AS SELECT * FROM hidden.lower WHERE id > 0;
CREATE VIEW plain AS SELECT * FROM contracts WHERE plan LIKE '%Go%';
CREATE FUNCTION own_rows() RETURNS SETOF contracts LANGUAGE plpgsql AS
  $$ BEGIN RETURN QUERY SELECT * FROM hidden.refreshed; END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC;
"""
REFRESHED = ("hidden.refreshed is a materialized view", "refresh")
REMOTE = ("is a foreign table", "Point `source.url` at that server")
CASES = {
    "materialized view": ({"table": "hidden.refreshed"}, REFRESHED),
    "view of a view of one": ({"table": "upper"}, REFRESHED),
    "query over it": ({"query": "SELECT u.* FROM contracts c JOIN upper u USING (id)"}, REFRESHED),
    "subquery": ({"query": "WITH it AS (SELECT * FROM upper) SELECT * FROM it"}, REFRESHED),
    "foreign table": ({"table": "remote"}, REMOTE),
    "partition that is foreign": ({"table": "parts"}, REMOTE),
    "query over it, too": ({"query": "SELECT * FROM parts WHERE account_name LIKE '%:x%'"}, REMOTE),
    "function": ({"query": "SELECT * FROM own_rows()"}, ("own_rows() is a function", "Name the")),
    "table": ({"table": "contracts"}, None),
    "partitions here": ({"table": "whole_parts"}, None),
    "view": ({"table": "plain"}, None),
    "foreign partition out of scope": ({"table": "parts", "where": "id < 1000"}, None),
    "query with rows of its own": (
        {"query": "SELECT c.* FROM contracts c, generate_series(1, 2) AS n WHERE n = 1"},
        None,
    ),
}


@pytest.fixture
def schema(postgresql_url: str) -> str:
    with rows_in(postgresql_url), psycopg.connect(postgresql_url.replace("+psycopg", "")) as owner:
        owner.execute(SCHEMA)
    return postgresql_url


def test_what_is_read_from_elsewhere_has_no_horizon(schema, open_source):
    reader = reader_of(schema, privileged=True)
    for case, (rows, told) in CASES.items():
        horizon = ask(open_source(reader, **rows))
        assert (case, horizon.basis) == (case, "lookback" if told else "horizon")
        if told is not None:
            assert told[0] in horizon.reason
            assert told[1] in horizon.hint


def test_init_marks_them(schema):
    with open_catalog(reader_of(schema, privileged=True)) as catalog:
        marked = {one.name for one in catalog.tables() if catalog.reads_external_data(one.name)}

    assert marked == {"hidden.refreshed", "hidden.lower", "upper", "remote", "parts", "parts_there"}


def test_a_reader_of_a_view_needs_no_right_to_what_it_reads(schema, open_source):
    url = reader_of(schema, privileged=False)
    name = sa.make_url(url).username
    with psycopg.connect(schema.replace("+psycopg", "")) as owner:
        owner.execute(f"REVOKE pg_read_all_data FROM {name}")

    assert ask(open_source(url, table="upper")).reason.startswith(REFRESHED[0])


def test_check_and_status_say_why_and_what_to_do(schema, tmp_path, sandbox):
    source = {"table": "upper", "lookback": "5m"}
    with Bench(tmp_path, sandbox, reader_of(schema, privileged=True), source=source) as bench:
        checked = bench.run("check").out
        bench.run("once")
        status = bench.run("status")

    says = "hidden.refreshed is a materialized view, which shows changes once it is refreshed"
    assert f"lookback of 5m in force: {says}" in checked
    assert "Name the tables that it reads in `source.table`" in checked
    assert f"no horizon: {says}. Name the tables" in status.out
    mark = bench.run("status", "--json").document["watermark"]
    assert (mark["basis"], mark["basis_reason"]) == ("lookback", says)
    assert mark["basis_hint"].startswith("Name the tables")
