"""Contracts looked up as the page does: by account, and by why they are stuck."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from cdc_sync.contract import Problem, Status, payload_of, problems_to_json
from cdc_sync.operations.contracts import find_contracts, group_stuck, retry_group
from cdc_sync.state import contracts, lookup
from cdc_sync.state.tables import contract

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def add(state, *rows: dict) -> None:
    def whole(number: int, given: dict) -> dict:
        row = dict(given)
        account = row.pop("account", "ACME")
        error = row.pop("error", None)
        return {
            "source_id": str(number),
            "reference": f"erp-{number}",
            "payload": payload_of({"account": account, "start": "2026-01-01"}),
            "status": "synced",
            "attempts": 0,
            "http_status": None,
            "last_error": error and problems_to_json([Problem(*error)]),
            "first_seen_at": NOON,
            "changed_at": NOON,
        } | row

    with state.begin() as tx:
        tx.execute(contract.insert(), [whole(*pair) for pair in enumerate(rows, 1)])


def found(state, text: str, limit: int = 10) -> list[str]:
    return [row["source_id"] for row in find_contracts(state, text, limit)["contracts"]]


def plan(state, query) -> str:
    with state.read() as tx:
        compiled = query.compile(tx, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN " if tx.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        if tx.dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
        text = (
            str(compiled).replace("%", "%%") if tx.dialect.name == "postgresql" else str(compiled)
        )
        return "\n".join(str(row) for row in tx.exec_driver_sql(explain + text))


def test_an_id_a_reference_and_the_beginning_of_an_account_are_found(state):
    add(state, {"account": "ACME Industries"}, {"account": "acme foods"}, {"account": "The ACME"})

    assert found(state, "3") == ["3"]
    assert found(state, "erp-2") == ["2"]
    assert found(state, "Acme") == ["2", "1"]
    assert found(state, "acme i") == ["1"]
    assert found(state, "Industries") == []


def test_composite_ids_are_found_however_they_are_spaced(state):
    add(state, {"source_id": '["ACME",17]'})

    assert found(state, '[ "ACME", 17 ]') == ['["ACME",17]']


def test_there_are_more_than_were_asked_for(state):
    add(state, *({"account": f"ACME {n}"} for n in range(5)))

    assert find_contracts(state, "acme", 3)["more"] is True
    assert find_contracts(state, "acme", 5)["more"] is False


@pytest.mark.parametrize("account", ['Ba"r', "a\\b", "Ünal", "100%", "a_b", "'; --", "é" * 200])
def test_hostile_accounts_are_found_as_they_are(state, account):
    add(state, {"account": account}, {"account": "another"})

    assert found(state, account[:70]) == ["1"]
    assert found(state, account[:2]) == (["1", "2"] if account.startswith("an") else ["1"])


def test_an_account_is_looked_up_in_its_index(state):
    key = lookup._account_key
    with state.read() as tx:
        query = sa.select(contract.c.source_id).where(key(tx) >= '"acme', key(tx) < '"acmf')

    assert "ix_contract_account" in plan(state, query)


def test_a_status_is_listed_by_its_index_in_order_of_id(state):
    query = (
        sa.select(contract)
        .where(contract.c.status == "rejected", sa.text("status <> 'synced'"))
        .order_by(contract.c.source_id)
    )

    told = plan(state, query)
    assert "ix_contract_status" in told
    assert "TEMP B-TREE" not in told
    assert "Sort" not in told


def test_every_status_is_listed_in_pages(state):
    add(state, *({"status": status.value} for status in Status for _ in range(3)))
    for status in Status:
        with state.read() as tx:
            first = contracts.list_page(tx, status, None, 2)
            rest = contracts.list_page(tx, status, first[-1]["source_id"], 2)

        assert [row["status"] for row in (*first, *rest)] == [status.value] * 3


REFUSED = {"status": "rejected", "http_status": 422}


def test_refusals_are_grouped_by_their_reason_whatever_numbers_are_in_it(state):
    add(
        state,
        REFUSED | {"error": ("start", "must be after '2020-01-01'")},
        REFUSED | {"error": ("start", "must be after '2021-02-03'")},
        REFUSED | {"error": ("account", "is unknown")},
        {"status": "rejected", "error": ("account", "is unknown")},
        {},
    )
    found = group_stuck(state, Status.REJECTED)

    assert [(g.reason, g.count, g.by_us) for g in found] == [
        ("start: must be after …", 2, False),
        ("account: is unknown", 1, False),
        ("account: is unknown", 1, True),
    ]
    assert [e["says"] for e in found[0].examples] == [
        "start: must be after '2020-01-01'",
        "start: must be after '2021-02-03'",
    ]


def test_one_group_is_retried_and_no_other(state):
    refused = REFUSED | {"error": ("start", "must be after 2020")}
    add(state, refused, refused, REFUSED | {"error": ("account", "is unknown")})
    group, _ = group_stuck(state, Status.REJECTED)

    assert retry_group(state, Status.REJECTED, group.key, NOON) == 2
    assert retry_group(state, Status.REJECTED, group.key, NOON) == 0
    with state.read() as tx:
        assert [row["source_id"] for row in contracts.list_page(tx, Status.PENDING, None, 9)] == [
            "1",
            "2",
        ]


def test_what_waits_is_grouped_by_the_account_it_waits_for(state):
    waits = {"status": "waiting", "http_status": 422, "error": ("account", "does not exist")}
    add(state, waits | {"account": "Globex"}, waits | {"account": "Globex"}, waits)

    found = group_stuck(state, Status.WAITING)
    assert [(g.reason, g.count) for g in found] == [("Globex", 2), ("ACME", 1)]
