"""The token endpoint, and what a token opens."""

import pytest
import requests


def test_a_client_gets_a_bearer_token_for_an_hour(sandbox):
    answer = sandbox.ask_token()

    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 3600)
    assert sandbox.get("dump").json()["tokens"] == 2


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_a_token_is_refused_in_the_words_of_oauth(sandbox, form, status, error):
    answer = sandbox.ask_token(**form)

    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert sandbox.get("dump").json()["tokens"] == 1


def test_credentials_can_be_chosen(options):
    with options(client_id="ours", client_secret="s3") as sandbox:
        assert sandbox.ask_token().status_code == 401
        assert sandbox.ask_token(client_id="ours", client_secret="s3").status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Basic c2FuZGJveA=="])
def test_a_put_without_a_valid_token_is_unauthenticated_and_changes_nothing(sandbox, header):
    answer = sandbox.send("contracts", {"Authorization": header}, json={})

    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})
    (entry,) = sandbox.ledger.entries()
    assert (entry.status, entry.applied) == (401, False)


def test_a_token_ends_with_its_time(options):
    with options(token_seconds=0) as sandbox:
        assert sandbox.put().status_code == 401


def test_a_token_can_be_revoked_and_a_new_one_opens_again(sandbox):
    requests.post(f"{sandbox.url}/revoke", timeout=20)
    revoked = sandbox.put().status_code
    sandbox.log_in()

    assert [revoked, sandbox.put().status_code] == [401, 201]
