import pytest

from cdc_sync.setup.guess import looks_like_contracts, propose, rank_proposals, suggest_reference
from cdc_sync.source.dialects.base import DeclaredType
from cdc_sync.source.inspection import CatalogColumn, CatalogTable

pytestmark = pytest.mark.quick


def table(
    name: str = "contracts", /, *, keys=(("id",),), indexes=(), **columns: DeclaredType
) -> CatalogTable:
    given = tuple(CatalogColumn(column, holds) for column, holds in columns.items())
    return CatalogTable(name, given, tuple(keys), tuple(indexes))


CONTRACTS = {
    "id": DeclaredType.NUMBER,
    "account_name": DeclaredType.TEXT,
    "start_date": DeclaredType.DATE,
    "end_date": DeclaredType.DATE,
    "created_at": DeclaredType.TIMESTAMP,
    "updated_at": DeclaredType.TIMESTAMP,
}


def test_the_usual_names_are_guessed():
    found = propose(table(**CONTRACTS, indexes=[("updated_at", "id")]))

    assert (found.id, found.watermark) == (("id",), "updated_at")
    assert (found.account, found.start, found.end) == ("account_name", "start_date", "end_date")
    assert found.description is None
    assert found.indexed
    assert looks_like_contracts(found)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("LastModifiedDate", "CreatedDate"), "LastModifiedDate"),
        (("created_at", "modified"), "modified"),
        (("inserted_on", "aangemaakt", "gewijzigd_op"), "gewijzigd_op"),
        (("created_at", "stamp"), "stamp"),
        (("created_at",), None),
        (("start_date", "valid_to"), None),
        (("stamp", "other"), None),
    ],
)
def test_a_watermark_is_what_a_change_moves_and_never_what_is_set_once(columns, expected):
    assert propose(table(**dict.fromkeys(columns, DeclaredType.TIMESTAMP))).watermark == expected


def test_a_number_is_a_watermark_only_by_a_plain_name():
    assert propose(table(row_version=DeclaredType.NUMBER)).watermark == "row_version"
    assert propose(table(price_changes=DeclaredType.NUMBER)).watermark is None


def test_a_text_is_a_watermark_where_texts_may_be_times():
    assert propose(table(updated_at=DeclaredType.ANY)).watermark == "updated_at"
    assert propose(table(updated_by=DeclaredType.TEXT)).watermark is None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("name", "customer_name"), "customer_name"),
        (("Company", "contact"), "Company"),
        (("plan", "name"), "name"),
        (("plan", "notes"), None),
    ],
)
def test_an_account_is_a_name(columns, expected):
    assert propose(table(**dict.fromkeys(columns, DeclaredType.TEXT))).account == expected


def test_the_account_is_never_a_number():
    assert propose(table(account=DeclaredType.NUMBER, client=DeclaredType.TEXT)).account == "client"


@pytest.mark.parametrize(
    ("columns", "start", "end"),
    [
        (("valid_from", "valid_to"), "valid_from", "valid_to"),
        (("StartDate", "EndDate"), "StartDate", "EndDate"),
        (("begins_on", "expires_at"), "begins_on", "expires_at"),
        (("signed_on", "effective_date"), "effective_date", None),
    ],
)
def test_dates_are_guessed_by_their_names(columns, start, end):
    found = propose(table(**dict.fromkeys(columns, DeclaredType.DATE)))

    assert (found.start, found.end) == (start, end)


def test_contracts_come_before_their_archive_and_before_what_merely_has_dates():
    names = ["contract_archive", "invoices", "contracts", "sessions"]
    found = rank_proposals(propose(table(name, **CONTRACTS)) for name in names)

    assert [one.table for one in found] == ["contracts", "invoices", "sessions", "contract_archive"]
    assert not looks_like_contracts(found[-1])


def test_a_table_without_a_key_or_a_watermark_is_not_listed():
    keyless = table("logs", keys=(), message=DeclaredType.TEXT, updated_at=DeclaredType.TIMESTAMP)
    timeless = table("plans", id=DeclaredType.NUMBER, name=DeclaredType.TEXT)

    assert rank_proposals(map(propose, (keyless, timeless))) == []


def test_a_view_is_known_by_its_column_of_that_name():
    assert propose(table(keys=(), **CONTRACTS)).id == ("id",)


@pytest.mark.parametrize(
    ("database", "key", "expected"),
    [
        ("erp", ("id",), "erp-{id}"),
        ("ERP_live", ("company", "number"), "erp-live-{company}-{number}"),
        ("", ("id",), "erp-{id}"),
        ("x" * 40, ("id",), "erp-{id}"),
    ],
)
def test_a_reference_has_the_name_of_the_database_as_its_prefix(database, key, expected):
    assert suggest_reference(database, key) == expected
