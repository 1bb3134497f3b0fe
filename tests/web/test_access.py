"""Who may read and who may act, over real HTTP."""

import asyncio
import hashlib
import hmac
import re
import socket
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from cdc_sync.config.urls import is_loopback
from cdc_sync.web.access import SESSION_LIFETIME, LoginThrottle, Secret, safe_path

TOKEN = "correct-horse-battery"
READS = ["/api/status", "/healthz", "/metrics", "/login"]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def daemon(shared_daemon):
    return shared_daemon


def raw(url: str, request: str) -> bytes:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize("path", READS)
def test_a_request_from_this_machine_reads_without_a_token(daemon, path):
    assert daemon.visit().get(path).status_code == 200


@pytest.mark.parametrize("path", ["/api/status", "/healthz", "/metrics"])
def test_a_request_through_a_proxy_needs_the_token_to_read(daemon, path):
    visit = daemon.visit()
    forwarded = {"X-Forwarded-For": "192.0.2.7"}

    assert visit.get(path, headers=forwarded).status_code == 401
    bearer = forwarded | {"Authorization": f"Bearer {TOKEN}"}
    assert visit.get(path, headers=bearer).status_code == 200
    assert visit.get(path, headers=forwarded | {"Authorization": "Bearer wrong"}).status_code == 401


def test_a_browser_from_elsewhere_is_redirected_to_the_log_in_and_back(daemon):
    visit = daemon.visit()
    visit.session.headers["X-Forwarded-For"] = "192.0.2.7"
    led = visit.get("/api/status?a=b", headers={"Accept": "text/html"})

    assert (led.status_code, led.headers["location"]) == (303, "/login?next=/api/status%3Fa%3Db")
    assert 'value="/api/status?a=b"' in visit.text(led.headers["location"])
    back = visit.post("/login", {"token": TOKEN, "next": "/api/status?a=b"})
    assert (back.status_code, back.headers["location"]) == (303, "/api/status?a=b")
    assert visit.get("/api/status").status_code == 200


def test_a_wrong_token_gives_no_cookie(daemon):
    visit = daemon.visit()
    answer = visit.log_in("wrong")

    assert (answer.status_code, "That is not the token." in answer.text) == (401, True)
    assert not visit.session.cookies
    assert visit.post("/logout").status_code == 401


@pytest.mark.quick
def test_wrong_tokens_are_slowed_and_logged_once_a_minute(monkeypatch):
    slowed = []

    async def slow(seconds: float) -> None:
        slowed.append(seconds)

    monkeypatch.setattr("cdc_sync.web.access.sleep", slow)
    throttle = LoginThrottle()
    with structlog.testing.capture_logs() as log:
        for second in range(61):
            monkeypatch.setattr("cdc_sync.web.access.monotonic", lambda at=second: 100.0 + at)
            asyncio.run(throttle.failed("192.0.2.7"))

    lines = [line for line in log if line["event"] == "page.login_refused"]
    told = [(line["count"], line["latest_from"]) for line in lines]
    assert told == [(1, "192.0.2.7"), (60, "192.0.2.7")]
    assert slowed == [1.0] * 61


def guessed_cookie(token: str) -> str:
    """A cookie as anybody can compute it from a token."""
    ends = str(int((datetime.now(UTC) + timedelta(days=1)).timestamp()))
    key = hashlib.sha256(b"cdc-sync page\0" + token.encode()).digest()
    return f"{ends}.{hmac.new(key, ends.encode(), hashlib.sha256).hexdigest()}"


@pytest.mark.parametrize("by", ["form", "bearer", "cookie"])
def test_a_wrong_token_is_counted_however_it_is_sent(daemon, monkeypatch, by):
    seen = []

    async def failed(_self: LoginThrottle, address: str) -> None:
        seen.append(address)

    monkeypatch.setattr(LoginThrottle, "failed", failed)
    visit = daemon.visit()
    visit.get("/healthz", headers={"Authorization": f"Bearer {TOKEN}"})
    visit.get("/healthz", headers={"Authorization": "Basic d3Jvbmc="})
    visit.log_in()
    if by == "form":
        visit.log_in("wrong")
    elif by == "cookie":
        port = daemon.url.rpartition(":")[2]
        daemon.visit().get("/healthz", headers={"Cookie": f"cdc_sync_{port}={guessed_cookie('x')}"})
    else:
        daemon.visit().get("/healthz", headers={"Authorization": "Bearer wrong"})

    assert seen == ["127.0.0.1"]


def test_the_cookie_is_for_this_page_alone_and_not_for_scripts(daemon):
    answer = daemon.visit().log_in()
    cookie = answer.headers["set-cookie"]
    port = daemon.url.rpartition(":")[2]

    assert cookie.startswith(f"cdc_sync_{port}=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie


def test_a_cookie_cannot_be_computed_from_the_token(daemon):
    visit, port = daemon.visit(), daemon.url.rpartition(":")[2]
    visit.session.cookies.set(f"cdc_sync_{port}", guessed_cookie(TOKEN), domain="127.0.0.1")

    assert visit.post("/logout").status_code == 401
    assert not visit.session.cookies, "it is taken back, and delays nothing more"


def test_who_has_a_wrong_cookie_can_log_in(daemon):
    visit, port = daemon.visit(), daemon.url.rpartition(":")[2]
    visit.session.cookies.set(f"cdc_sync_{port}", guessed_cookie("old"), domain="127.0.0.1")

    assert visit.log_in().status_code == 303
    assert visit.post("/logout").status_code == 303


def test_logging_out_ends_it(daemon):
    visit = daemon.visit(logged_in=True)

    assert visit.post("/logout").status_code == 303
    assert visit.post("/logout").status_code == 401


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://127.0.0.1", "file://", None]
)
def test_a_post_from_another_origin_is_refused_despite_the_cookie(daemon, origin):
    visit = daemon.visit(logged_in=True)

    assert visit.post("/logout", Origin=origin).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_may_link_here_but_not_load_from_here(daemon, site):
    visit = daemon.visit()
    embedded = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    led = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    ours = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}

    assert visit.get("/contract?id=99", headers=embedded).status_code == 403
    assert visit.get("/", headers=led).status_code == 200
    assert visit.get("/", headers=ours).status_code == 200


def test_a_bearer_token_acts_without_an_origin_but_not_from_another(daemon):
    visit = daemon.visit()
    bearer = {"Authorization": f"Bearer {TOKEN}"}

    assert visit.post("/logout", Origin=None, **bearer).status_code == 303
    assert visit.post("/logout", Origin="http://evil.example", **bearer).status_code == 403
    assert visit.post("/logout", Origin=None, Authorization="Bearer wrong").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example"])
def test_a_foreign_host_name_is_refused(daemon, host):
    assert daemon.visit().get("/api/status", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:99", socket.gethostname()])
def test_our_host_names_are_accepted_with_any_port(daemon, host):
    assert daemon.visit().get("/api/status", headers={"Host": host}).status_code == 200


def test_a_request_without_host_is_refused(daemon):
    assert b" 421 " in raw(daemon.url, "GET / HTTP/1.0\n\n").splitlines()[0]


def test_a_large_form_is_refused_before_it_is_read(daemon):
    visit = daemon.visit()

    assert visit.post("/login", {"token": "x" * 20_000}).status_code == 413


def test_only_forms_are_accepted(daemon):
    visit = daemon.visit()

    assert visit.post("/login", **{"Content-Type": "application/json"}).status_code == 415
    assert visit.get("/logout").status_code == 405


def test_every_answer_has_a_strict_policy_and_is_not_cached(daemon):
    for path in [*READS, "/nowhere"]:
        headers = daemon.visit().get(path).headers

        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_without_a_token_the_page_shows_and_does_not_act(tmp_path, sandbox, start):
    from tests.support.bench import Bench

    bench = Bench.with_contracts(tmp_path, sandbox, web={"listen": "127.0.0.1:0"})
    with start(bench) as daemon:
        visit = daemon.visit()

        assert visit.get("/api/status").status_code == 200
        assert "web.token" in visit.text("/login")
        assert visit.log_in("").status_code == 401
        assert visit.post("/logout").status_code == 403
        assert visit.get("/api/status", headers={"Forwarded": "for=192.0.2.7"}).status_code == 403


def test_the_log_in_outlives_a_restart_of_the_daemon(bench, start):
    with start(bench) as first:
        visit = first.visit(logged_in=True)
    with start(bench) as second:
        port = second.url.rpartition(":")[2]
        (value,) = visit.session.cookies.values()
        again = second.visit()
        again.session.cookies.set(f"cdc_sync_{port}", value)

        assert again.post("/logout").status_code == 303


@pytest.mark.quick
def test_a_cookie_expires_and_is_of_one_token_alone():
    secret = Secret(TOKEN, b"key")
    cookie = secret.cookie(NOON)

    assert secret.is_cookie(cookie, NOON)
    assert not secret.is_cookie(cookie, NOON + SESSION_LIFETIME + timedelta(seconds=1))
    assert not Secret("another", b"key").is_cookie(cookie, NOON)
    assert not Secret(TOKEN, b"another key").is_cookie(cookie, NOON)
    assert not Secret(None).is_cookie(Secret(None).cookie(NOON), NOON)
    ends, _, signature = cookie.partition(".")
    assert not secret.is_cookie(f"{int(ends) + 1}.{signature}", NOON)


@pytest.mark.quick
@pytest.mark.parametrize("value", ["", ".", "1", "9" * 5000 + ".x", "²²².x", "-1.x", "1.é"])
def test_a_malformed_cookie_is_refused_and_counts_as_no_guess(value):
    secret = Secret(TOKEN)

    assert not secret.is_cookie(value, NOON)
    assert not secret.is_wrong_cookie(value, NOON)


@pytest.mark.quick
@pytest.mark.parametrize("path", [None, "", "//evil", "/\\evil", "http://evil", "/a\r\nb", "/é"])
def test_a_log_in_redirects_to_our_own_pages_alone(path):
    assert safe_path(path) == "/"


@pytest.mark.quick
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_recognised(address):
    assert is_loopback(address)


@pytest.mark.quick
@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7", "", "unknown", "localhost"])
def test_other_addresses_are_not_loopback(address):
    assert not is_loopback(address)


def test_no_secret_is_in_any_answer(daemon):
    visit = daemon.visit(logged_in=True)
    held = {TOKEN, "sandbox-secret"}
    texts = [visit.get(path).text for path in READS]

    assert not [text for text in texts for secret in held if re.search(secret, text)]
