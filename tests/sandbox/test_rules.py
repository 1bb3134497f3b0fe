"""The documented rules of the API, as its callers meet them."""

import pytest


def test_a_contract_put_first_is_created_and_put_again_is_updated(sandbox):
    statuses = [sandbox.put().status_code, sandbox.put(account="Globex").status_code]

    assert statuses == [201, 200]
    assert sandbox.get("dump").json()["contracts"]["erp-1"]["account"] == "Globex"


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"reference": None}, {"reference": ["The reference field is required."]}),
        ({"reference": "r" * 129}, {"reference": ["The reference may not be greater than 128 characters."]}),
        ({"account": ""}, {"account": ["The account field is required."]}),
        ({"account": "  "}, {"account": ["The account field is required."]}),
        ({"account": "é" * 256}, {"account": ["The account may not be greater than 255 characters."]}),
        ({"account": 7}, {"account": ["The account must be a string."]}),
        ({"start": None}, {"start": ["The start field is required."]}),
        ({"start": "2026-02-30"}, {"start": ["The start does not match the format Y-m-d."]}),
        ({"start": "20260228"}, {"start": ["The start does not match the format Y-m-d."]}),
        ({"start": 2026}, {"start": ["The start does not match the format Y-m-d."]}),
        ({"end": "31.12.2026"}, {"end": ["The end does not match the format Y-m-d."]}),
        ({"description": "d" * 151}, {"description": ["The description may not be greater than 150 characters."]}),
    ],
)  # fmt: skip
def test_a_contract_that_breaks_a_rule_is_refused_in_laravels_words(sandbox, fields, errors):
    answer = sandbox.put(**fields)

    assert answer.status_code == 422
    assert answer.json() == {"message": "The given data was invalid.", "errors": errors}
    assert sandbox.get("dump").json()["contracts"] == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"end": None},
        {"end": ""},
        {"end": "2028-02-29"},
        {"description": ""},
        {"description": None},
        {"description": "d" * 150, "account": "é" * 255, "reference": "r" * 128},
        {"plan": "a key that the API does not know"},
    ],
)
def test_a_contract_at_the_edge_of_the_rules_is_taken_and_kept_as_sent(sandbox, fields):
    answer = sandbox.put(**fields)

    assert answer.status_code == 201
    (held,) = sandbox.get("dump").json()["contracts"].values()
    assert held.items() >= fields.items()


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b'{"reference": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_has_none_of_the_fields(sandbox, raw):
    answer = sandbox.send("contracts", {"Content-Type": "application/json"}, data=raw)

    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == ["reference", "account", "start"]


def test_an_unknown_account_is_refused_only_where_accounts_are_strict(sandbox, options):
    assert sandbox.put().status_code == 201
    with options(strict_accounts=True) as strict:
        before = strict.put()
        strict.send("accounts", json={"reference": "ACME"})
        after = strict.put()

    assert before.status_code == 422
    assert before.json()["errors"] == {"account": ["The selected account is invalid."]}
    assert after.status_code == 201


def test_accounts_are_created_updated_and_refused_by_their_own_rules(sandbox):
    created = sandbox.send("accounts", json={"reference": "ACME", "number": "7"})
    updated = sandbox.send("accounts", json={"reference": "ACME", "region": "EMEA"})
    refused = sandbox.send("accounts", json={"reference": "a" * 129, "manager": 1})

    assert [created.status_code, updated.status_code] == [201, 200]
    assert list(refused.json()["errors"]) == ["reference", "manager"]
    assert sandbox.get("dump").json()["accounts"] == [{"reference": "ACME", "region": "EMEA"}]


def test_a_refusal_sends_a_caller_who_does_not_ask_for_json_elsewhere(sandbox):
    answer = sandbox.send("contracts", {"Accept": "*/*"}, json={})

    assert answer.status_code == 302
    assert "errors" not in answer.text


def test_a_body_that_is_not_called_json_is_not_read(sandbox):
    assert sandbox.send("contracts", {"Content-Type": "text/plain"}, data=b"{}").status_code == 415


def test_a_body_beyond_a_megabyte_is_turned_away(sandbox):
    assert sandbox.put(description="d" * (1 << 20)).status_code == 413


def test_other_methods_and_other_paths_do_not_exist(sandbox):
    assert sandbox.get("contracts").status_code == 405
    assert sandbox.get("oauth2/token").status_code == 405
    assert sandbox.send("contract", json={}).status_code == 404
