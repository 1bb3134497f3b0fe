"""Every answer has a meaning, and none makes us fail."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.contract import payload_of
from cdc_sync.rules.verdict import (
    Accepted,
    AccountMissing,
    Answer,
    ApiState,
    Halted,
    NoAnswer,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    judge,
)

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SENT = payload_of({"account": "ACME", "start": "2026-01-01"})
BODIES = [
    b"",
    b"<html><h1>502 Bad Gateway</h1></html>",
    b"{",
    b"\xff\xfe",
    b"null",
    b'"text"',
    b"[" * 60_000,
    b"9" * 60_000,
    b"x" * 65_536,
    b'{"message": null, "error": {"a": [1]}, "errors": []}',
    b'{"message": "\\u0000 and \\ud800"}',
]
MEANINGS = {
    **dict.fromkeys((200, 201, 202, 204), Accepted),
    401: TokenRejected,
    403: TokenRejected,
    **dict.fromkeys((404, 405, *range(300, 400)), Halted),
    **dict.fromkeys((400, 413, 414, 415, 422), Refused),
    **dict.fromkeys((408, 409, 423, 425), TryLater),
    429: Throttled,
}


def verdict(status: int, body: bytes = b"", retry_after: str | None = None, sent=SENT):
    return judge(Answer(status, retry_after, body), sent, NOW)


def refusal(**errors: object) -> bytes:
    return json.dumps({"message": "The given data was invalid.", "errors": errors}).encode()


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_every_status_means_what_the_table_says_whatever_its_body(body):
    for status in range(100, 600):
        assert type(verdict(status, body)) is MEANINGS.get(status, Unavailable), status


def test_only_answers_after_which_it_may_have_been_applied_leave_a_doubt():
    doubtful = {s for s in range(100, 600) if getattr(verdict(s), "doubt", False)}

    assert doubtful == {408, *range(500, 600)}


@pytest.mark.parametrize("doubt", [True, False])
def test_no_answer_is_as_doubtful_as_it_says(doubt):
    assert judge(NoAnswer("reset", doubt), SENT, NOW) == Unavailable("reset", doubt)


def test_only_201_says_created():
    assert [verdict(s) for s in (200, 201, 202, 204)] == [Accepted(s == 201) for s in (200, 201, 202, 204)]  # fmt: skip


def test_a_token_is_refused_as_unauthorized_or_forbidden():
    states = [verdict(status).state for status in (401, 403)]

    assert states == [ApiState.UNAUTHORIZED, ApiState.FORBIDDEN]


def test_the_fields_that_are_refused_are_told_in_the_apis_words():
    body = refusal(start=["The start does not match the format Y-m-d.", "Twice."], end="Text.")

    assert verdict(422, body) == Refused(
        (("start", "The start does not match the format Y-m-d. Twice."), ("end", "Text."))
    )


@pytest.mark.parametrize("status", [400, 422])
def test_an_account_that_is_the_only_complaint_is_waited_for(status):
    assert type(verdict(status, refusal(account=["The selected account is invalid."]))) is AccountMissing  # fmt: skip
    assert type(verdict(status, refusal(account=["x"], start=["y"]))) is Refused


@pytest.mark.parametrize("account", ["", "é" * 256, None])
def test_an_account_that_no_waiting_can_mend_is_refused(account):
    sent = payload_of({"account": account})

    assert type(verdict(422, refusal(account=["x"]), sent=sent)) is Refused


def test_a_429_asks_for_a_wait_or_for_none():
    assert verdict(429, retry_after="7") == Throttled(timedelta(seconds=7))
    assert verdict(429) == Throttled(None)


def test_an_answer_is_kept_in_one_line_of_500_characters():
    said = verdict(500, b"<h1>\nOops</h1>" + b"x" * 10_000).why

    assert said.startswith("500 <h1> Oops</h1>x")
    assert len(said) == len("500 ") + 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(st.sampled_from([400, 413, 422, 500]), st.sampled_from(["message", "error", "errors"]), JSON)
def test_what_is_kept_of_any_answer_can_be_stored(status, key, value):
    given = verdict(status, json.dumps({key: value}).encode())

    kept = (
        [given.why]
        if isinstance(given, Unavailable)
        else [part for p in given.problems for part in p]
    )
    assert all("\0" not in text and text.encode() is not None for text in kept)
