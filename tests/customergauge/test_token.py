"""The token: asked for as documented, kept in a private file, and told to nobody."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from cdc_sync.customergauge.token import DEFAULT_LIFE, Token, TokenKeeper
from cdc_sync.errors import TokenMisplaced, TokenRefused, TokenThrottled, TokenUnavailable
from tests.support.bench import Bench
from tests.support.sandbox import running_sandbox

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GIVEN = {"access_token": "the-access-token", "token_type": "Bearer", "expires_in": 3600}


def http(status: int, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", body]).encode()


def given(**changes: object) -> bytes:
    return http(200, json.dumps({k: v for k, v in (GIVEN | changes).items() if v is not ...}))


def keeper_of(config, file: Path | None = None, now: datetime = NOW) -> TokenKeeper:
    return TokenKeeper(config, file, lambda: now)


def refusal_of(config) -> TokenUnavailable:
    with pytest.raises(TokenUnavailable) as told:
        keeper_of(config).fetch()
    return told.value


def test_the_token_is_asked_for_by_the_documented_form_and_nothing_else(raw, pointed_at, secret):
    server = raw(given())
    token = keeper_of(pointed_at(server.url)).fetch()

    assert (token.secret, token.expires_at) == ("the-access-token", NOW + timedelta(hours=1))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /oauth2/token HTTP/1.1")
    assert b"authorization" not in head.lower()
    assert b"content-type: application/x-www-form-urlencoded" in head.lower()
    assert parse_qs(body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["our-client"],
        "client_secret": [secret],
    }


def test_a_redirect_of_the_token_endpoint_is_not_followed(raw, pointed_at):
    elsewhere = raw(given())
    server = raw(http(307, "", f"Location: {elsewhere.url}/oauth2/token"))

    refusal = refusal_of(pointed_at(server.url))
    assert isinstance(refusal, TokenMisplaced)
    assert "is no token endpoint (307" in str(refusal)
    assert "Check `customergauge.region` or `customergauge.token_url`" in str(refusal)
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(503, "Service Unavailable"), "answers 503 Service Unavailable"),
        (http(500, json.dumps(GIVEN)), "answers 500"),
        (http(204, ""), "answers 204"),
        (http(200, "<h1>Log in</h1>"), "gave no token"),
        (http(200, ""), "gave no token"),
        (http(200, "[]"), "gave no token"),
        (http(200, "null"), "gave no token"),
        (http(200, "{}"), "gave no token"),
        (http(200, '{"error":"invalid_scope"}'), "gave no token: invalid_scope"),
        (given(access_token=None), "gave no token"),
        (given(access_token=""), "gave no token"),
        (given(access_token=7), "gave no token"),
        (given(access_token="two\r\nlines"), "gave no token"),
        (b"nonsense\r\n\r\n", "cannot be reached"),
    ],
)
def test_an_endpoint_that_gives_no_token_is_told_in_words(raw, pointed_at, answer, says, secret):
    server = raw(lambda _raw, to, _n: to.sendall(answer) is not None)
    error = refusal_of(pointed_at(server.url))

    assert not isinstance(error, TokenRefused)
    assert says in str(error)
    assert secret not in str(error)
    assert "the-access-token" not in str(error)


def test_a_429_hands_on_the_wait_that_is_asked_for(raw, pointed_at):
    server = raw(http(429, "", "Retry-After: 7"))
    refusal = refusal_of(pointed_at(server.url))
    assert (type(refusal), refusal.wait_seconds) == (TokenThrottled, 7)


def test_an_endpoint_that_is_not_there_is_told_in_words(pointed_at):
    error = refusal_of(pointed_at("http://127.0.0.1:1"))
    assert "http://127.0.0.1:1/oauth2/token cannot be reached" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_client_that_is_refused_is_told_what_to_check(raw, pointed_at, status, secret):
    server = raw(http(status, json.dumps({"error": "invalid_client", "you_sent": secret})))
    error = refusal_of(pointed_at(server.url))

    assert isinstance(error, TokenRefused)
    assert "customergauge.client_id" in str(error)
    assert "customergauge.client_secret" in str(error)
    assert "invalid_client" in str(error)
    assert secret not in str(error)


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (60, timedelta(minutes=1)),
        ("7200", timedelta(hours=2)),
        (1800.5, timedelta(minutes=30)),
        (..., DEFAULT_LIFE),
        (None, DEFAULT_LIFE),
        ("soon", DEFAULT_LIFE),
        ([1], DEFAULT_LIFE),
        (True, DEFAULT_LIFE),
        (0, DEFAULT_LIFE),
        (-5, DEFAULT_LIFE),
        (1e300, DEFAULT_LIFE),
        (10**12, DEFAULT_LIFE),
        ("NaN", DEFAULT_LIFE),
        ("Infinity", DEFAULT_LIFE),
        (float("inf"), DEFAULT_LIFE),
    ],
)
def test_a_life_that_is_missing_or_absurd_is_the_documented_one(raw, pointed_at, expires_in, life):
    server = raw(given(expires_in=expires_in))
    assert keeper_of(pointed_at(server.url)).fetch().expires_at == NOW + life


def test_an_endpoint_that_trickles_ends_at_the_timeout(raw, pointed_at):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    server = raw(lambda raw, to, _n: raw.trickle(to, head))

    assert "did not answer in time" in str(refusal_of(pointed_at(server.url, timeout="1s")))


def test_a_token_is_kept_in_a_private_file_and_used_by_the_next_process(raw, pointed_at, tmp_path):
    server, file = raw(given()), tmp_path / "token.json"
    config = pointed_at(server.url)
    file.write_text("old")
    file.chmod(0o644)
    old = file.stat().st_ino
    token = keeper_of(config, file).fetch()

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_ino != old  # replaced, never half written
    assert not list(tmp_path.glob("*.new"))
    assert keeper_of(config, file).current() == keeper_of(config, file).fetch() == token
    assert len(server.requests) == 1


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', '{"for": 1}', "\0", "[" * 100_000])
def test_a_file_that_cannot_be_read_counts_as_none(raw, pointed_at, tmp_path, text):
    server, file = raw(given()), tmp_path / "token.json"
    file.write_text(text)
    keeper = keeper_of(pointed_at(server.url), file)

    assert keeper.current() is None
    assert keeper.fetch().secret == "the-access-token"


@pytest.mark.parametrize("expires_at", ["soon", 7, None, "0001-01-01T00:00:00+14:00"])
def test_a_file_without_a_sound_end_counts_as_none(raw, pointed_at, tmp_path, expires_at):
    server, file = raw(given()), tmp_path / "token.json"
    config = pointed_at(server.url)
    keeper_of(config, file).fetch()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"expires_at": expires_at}))

    assert keeper_of(config, file).current() is None


def test_the_token_of_another_client_or_endpoint_is_left_alone(raw, pointed_at, tmp_path):
    server, other, file = raw(given()), raw(given()), tmp_path / "token.json"
    keeper_of(pointed_at(server.url), file).fetch()

    assert keeper_of(pointed_at(server.url, client_id="another"), file).current() is None
    assert keeper_of(pointed_at(other.url), file).current() is None


def test_a_file_that_cannot_be_written_does_not_cost_the_token(raw, pointed_at, tmp_path):
    server = raw(given())
    keeper = keeper_of(pointed_at(server.url), tmp_path / "not there" / "token.json")
    assert keeper.fetch() == keeper.current()


def test_a_token_is_renewed_a_minute_before_its_end(raw, pointed_at):
    server, clock = raw(given()), [NOW]
    keeper = TokenKeeper(pointed_at(server.url), None, lambda: clock[0])
    assert keeper.wants_renewal()
    token = keeper.fetch()

    for minutes, usable, renewed in ((58, True, False), (59, True, True), (60, False, True)):
        clock[0] = NOW + timedelta(minutes=minutes)
        assert (keeper.current() == token, keeper.wants_renewal()) == (usable, renewed)


def test_a_token_of_half_a_minute_is_not_asked_for_all_the_time(raw, pointed_at):
    server, clock = raw(given(expires_in=30)), [NOW]
    keeper = TokenKeeper(pointed_at(server.url), None, lambda: clock[0])
    keeper.fetch()

    for seconds, renewed in ((1, False), (14, False), (15, True), (31, True)):
        clock[0] = NOW + timedelta(seconds=seconds)
        assert keeper.wants_renewal() == renewed


def test_only_the_current_token_can_be_refused(raw, pointed_at, tmp_path):
    server = raw(lambda _raw, to, n: to.sendall(given(access_token=f"token-{n}")) is not None)
    keeper = keeper_of(pointed_at(server.url), tmp_path / "token.json")
    first = keeper.fetch()

    assert keeper.refused(first)
    assert keeper.current() is None
    second = keeper.fetch()  # the file still holds the first, which was refused
    assert second.secret == "token-2"
    assert not keeper.refused(first)
    assert keeper.current() == second


def test_two_processes_with_one_file_ask_for_one_token(raw, pointed_at, tmp_path):
    server = raw(given())
    keepers = [keeper_of(pointed_at(server.url), tmp_path / "token.json") for _ in range(4)]
    threads = [threading.Thread(target=keeper.fetch) for keeper in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert {keeper.current().secret for keeper in keepers} == {"the-access-token"}
    assert len(server.requests) == 1


def test_a_failed_renewal_is_kept_and_the_next_good_one_ends_it(raw, pointed_at):
    answers = {1: http(503, "")}
    server = raw(lambda _raw, to, n: to.sendall(answers.get(n, given())) is not None)
    keeper = keeper_of(pointed_at(server.url))

    for expected in (TokenUnavailable, type(None)):
        done = threading.Event()
        keeper.renew(done.set)
        assert done.wait(10)
        assert isinstance(keeper.failure, expected)
    assert keeper.current() is not None
    assert not keeper.wants_renewal()


def test_a_defect_of_ours_is_a_failure_too_so_that_it_is_not_asked_again_at_once(
    pointed_at, monkeypatch
):
    def broken(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr("cdc_sync.customergauge.token_request.request_token", broken)
    keeper, done = keeper_of(pointed_at("http://127.0.0.1:1")), threading.Event()
    keeper.renew(done.set)

    assert done.wait(10)
    assert "ZeroDivisionError" in str(keeper.failure)


def test_a_token_does_not_show_its_secret():
    token = Token("the-access-token", NOW)
    assert "the-access-token" not in f"{token} {token!r} {[token]}"


def test_at_debug_no_secret_and_no_token_is_in_any_output_or_file(tmp_path, secret):
    with running_sandbox(client_secret=secret) as sandbox:
        keys = {"client_secret": secret}
        bench = Bench.with_contracts(tmp_path, sandbox, log={"level": "debug"}, customergauge=keys)
        ran = bench.run("once")
        assert len(sandbox.contracts()) == 3
    token = json.loads((tmp_path / "token.json").read_text())["access_token"]
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}

    assert {"config.yaml", "state.db"} <= set(files)
    for hidden in (secret, token):
        assert hidden not in ran.out + ran.err
        holders = {name for name, content in files.items() if hidden.encode() in content}
        assert holders == {"config.yaml" if hidden == secret else "token.json"}
