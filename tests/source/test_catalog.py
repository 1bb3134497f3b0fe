import sqlalchemy as sa

from cdc_sync.setup.guess import looks_like_contracts, propose, rank_proposals
from cdc_sync.source.dialects.base import DeclaredType
from cdc_sync.source.inspection import open_catalog
from tests.support.rows import rows_in


def columns_of(table):
    return {column.name: column.type for column in table.columns}


def test_tables_are_known_with_their_columns_keys_and_indexes(source_url):
    composite = [
        sa.Column("company", sa.String(20), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    ]
    with (
        rows_in(source_url),
        rows_in(source_url, *composite, name="contract_archive"),
        open_catalog(source_url) as catalog,
    ):
        found = {table.name: table for table in catalog.tables()}
        odd_zone = catalog.odd_zone

    contracts, archive = found["contracts"], found["contract_archive"]
    held = columns_of(contracts)
    assert (held["id"], held["start_date"]) == (DeclaredType.NUMBER, DeclaredType.DATE)
    assert held["updated_at"] is DeclaredType.TIMESTAMP
    assert held["account_name"] is (
        DeclaredType.ANY if "sqlite" in source_url else DeclaredType.TEXT
    )
    assert contracts.keys[0] == ("id",)
    assert ("updated_at",) in contracts.indexes
    assert set(archive.keys[0]) == {"company", "id"}
    assert odd_zone is None


def test_the_likely_table_is_first_and_its_rows_are_counted(source_url):
    with (
        rows_in(source_url) as rows,
        rows_in(source_url, name="contract_archive"),
        open_catalog(source_url) as catalog,
    ):
        rows.add({"id": 1}, {"id": 2})
        likely = rank_proposals(map(propose, catalog.tables()))

        assert [one.table for one in likely] == ["contracts", "contract_archive"]
        assert [looks_like_contracts(one) for one in likely] == [True, False]
        assert likely[0].indexed
        assert catalog.rows("contracts") == (2, True)


def test_the_rows_of_a_big_table_are_estimated(source_url, monkeypatch):
    monkeypatch.setattr("cdc_sync.source.inspection._COUNTED_BELOW", 1)
    with rows_in(source_url) as rows, open_catalog(source_url) as catalog:
        rows.add(*({"id": number} for number in range(500)))
        if "sqlite" not in source_url:
            rows.execute(
                "ANALYZE contracts" if "postgres" in source_url else "ANALYZE TABLE contracts"
            )
        count, exact = catalog.rows("contracts")

    assert exact == ("sqlite" in source_url)
    assert 400 <= count <= 600


def test_a_view_is_known_as_one(source_url):
    with rows_in(source_url) as rows:
        rows.execute("CREATE VIEW active_contracts AS SELECT * FROM contracts")
        try:
            with open_catalog(source_url) as catalog:
                views = {table.name: table.is_view for table in catalog.tables()}
        finally:
            rows.execute("DROP VIEW active_contracts")

    assert views == {"contracts": False, "active_contracts": True}


def test_a_table_of_another_schema_has_it_in_its_name(postgresql_url):
    with rows_in(postgresql_url) as rows:
        rows.execute("CREATE SCHEMA erp")
        rows.execute("CREATE TABLE erp.agreements (id int PRIMARY KEY, updated_at timestamptz)")
        with open_catalog(postgresql_url) as catalog:
            names = [table.name for table in catalog.tables()]
            count = catalog.rows("erp.agreements")

    assert sorted(names) == ["contracts", "erp.agreements"]
    assert count == (0, True)
