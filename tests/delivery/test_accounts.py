"""Contracts whose account is not there: they wait for it, or it is made for them."""

import requests

ACCOUNTS = {"strict_accounts": True}


def accounts(site) -> list[str]:
    return [entry.reference for entry in site.sandbox.ledger.entries() if entry.path == "accounts"]


def make(site, name: str) -> None:
    """As a person does it in CustomerGauge."""
    token = requests.post(
        f"{site.sandbox.url}/oauth2/token",
        data={"client_id": "sandbox", "client_secret": "sandbox"}
        | {"grant_type": "client_credentials"},
        timeout=20,
    ).json()["access_token"]
    answer = requests.put(
        f"{site.sandbox.url}/accounts",
        json={"reference": name},
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    assert answer.status_code == 201


def test_a_missing_account_is_made_once_for_all_its_contracts(site):
    site.open(ACCOUNTS, create_missing_accounts=True)
    site.rows.add(*({"id": n, "account_name": "ACME"} for n in range(30)))
    site.rows.add(*({"id": n, "account_name": "acme"} for n in range(30, 40)))
    site.capture()
    site.deliver()

    assert site.statuses() == {"synced": 40}
    assert sorted(accounts(site)) == ["ACME", "acme"]


def test_an_account_that_is_refused_says_why_where_its_contracts_wait(site):
    site.open(ACCOUNTS, create_missing_accounts=True).add(1)
    site.sandbox.strike('status=422 path=accounts body={"errors":{"reference":["is_taken"]}}')
    site.deliver()

    assert site.statuses() == {"waiting": 1}
    assert "cannot be created: is_taken" in site.contract()["last_error"]


def test_an_account_that_is_refused_is_asked_for_once_not_once_a_contract(site):
    site.open(ACCOUNTS, create_missing_accounts=True, rate_limit="none", concurrency=1)
    site.rows.add(*({"id": n, "account_name": "ACME"} for n in range(15)))
    site.capture()
    site.sandbox.strike('status=422 path=accounts body={"errors":{"reference":["is_taken"]}}')
    site.deliver()

    assert site.statuses() == {"waiting": 15}
    assert accounts(site) == ["ACME"]


def test_what_waits_for_an_account_goes_when_another_contract_of_it_is_taken(site):
    site.open(ACCOUNTS)
    site.rows.add(*({"id": n, "account_name": "ACME"} for n in range(3)))
    site.rows.add({"id": 9, "account_name": "acme"})
    site.capture()
    site.deliver()
    assert site.statuses() == {"waiting": 4}

    make(site, "ACME")
    site.reopen()  # what waits is known to the next process, too
    site.retry("erp-0")
    site.deliver()
    assert site.statuses() == {"synced": 3, "waiting": 1}


def test_contracts_whose_accounts_are_missing_hold_up_no_others(site):
    site.open(ACCOUNTS)
    make(site, "ACME")
    site.rows.add(*({"id": n, "account_name": f"Missing {n}"} for n in range(60)))
    site.rows.add(*({"id": n, "account_name": "ACME"} for n in range(60, 80)))
    site.capture()
    site.deliver()

    assert site.statuses() == {"waiting": 60, "synced": 20}
    assert site.sync.delivery.stopped_by() is None


def test_no_account_is_made_where_nobody_wants_it(site):
    site.open(ACCOUNTS).add(2)
    site.deliver()

    assert (site.statuses(), accounts(site)) == ({"waiting": 2}, [])
