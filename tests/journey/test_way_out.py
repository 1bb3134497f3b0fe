"""A company whose servers reach the internet through a proxy, which opens TLS by a CA of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.commands import Ran
from tests.support.proxy import API, AUTH, Authority, Proxy, running_proxy
from tests.support.sandbox import Sandbox

LOGIN, PASSWORD = "anna:p%40ss%2Fw%25rd", "p@ss/w%rd"
VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def company(folder: Path, sandbox: Sandbox, url: str | None, **keys: Any) -> Iterator[Bench]:
    """A source with three contracts, and CustomerGauge behind names that nobody else knows."""
    with Bench.with_table(folder, sandbox, url) as bench:
        bench.configure(customergauge={"base_url": API, "token_url": AUTH, **keys})
        bench.rows.add(*({"id": number} for number in (1, 2, 3)))
        yield bench


def test_by_the_environment_alone(tmp_path, sandbox, postgresql_url, authority, monkeypatch):
    with (
        running_proxy(sandbox.url, authority) as proxy,
        company(tmp_path, sandbox, postgresql_url) as bench,
    ):
        proxy.login = LOGIN.replace("%40", "@").replace("%2F", "/").replace("%25", "%")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_with(LOGIN))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        checked = bench.run("check")
        done = bench.run("once")

    address = proxy.url.partition("://")[2]
    assert checked.code == 0, checked.out
    assert f"{API} answers, through {address} (HTTPS_PROXY)" in checked.out
    assert done.out.startswith("3 created."), done
    assert len(sandbox.contracts()) == 3
    assert set(proxy.asked) == {"imports.example.test:443", "auth.example.test:443"}
    assert_secret_nowhere(tmp_path, checked, done)


def test_by_keys_alone(tmp_path, sandbox, postgresql_url, authority, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    clients = Authority(tmp_path, "Clients CA")
    clients.issue("cdc-sync")
    with running_proxy(sandbox.url, authority, client_ca=clients.file) as proxy:
        proxy.login = f"anna:{PASSWORD}"
        keys = {
            "proxy": proxy.url_with("anna:${file:password}"),
            "ca_file": authority.file.name,
            "client_certificate": "cdc-sync.pem",
        }
        with company(tmp_path, sandbox, postgresql_url, **keys) as bench:
            checked = bench.run("check")
            done = bench.run("once")
            shown = bench.run("config", "show")

    address = proxy.url.partition("://")[2]
    assert checked.code == 0, checked.out
    assert f"{API} answers, through {address} (customergauge.proxy)" in checked.out
    assert done.out.startswith("3 created."), done
    (tmp_path / "password").unlink()
    assert_secret_nowhere(tmp_path, checked, done, shown)


def assert_secret_nowhere(folder: Path, *ran: Ran) -> None:
    """The proxy's password is in no output, and in no file of the bench."""
    said = "".join(one.out + one.err for one in ran).encode()
    files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    for spelling in (PASSWORD, LOGIN.partition(":")[2]):
        assert not any(spelling.encode() in text for text in (said, *files))


def wants_password(proxy: Proxy) -> None:
    proxy.login = "anna:other"


def forbids(proxy: Proxy) -> None:
    proxy.refusal = b"403 Forbidden"


def has_no_way(proxy: Proxy) -> None:
    proxy.refusal = b"502 Bad Gateway"


@pytest.mark.parametrize(
    ("refuse", "why", "hint"),
    [
        (wants_password, "wants another user or password (407)", "Put `user:password@`"),
        (forbids, "forbids the way there (403)", "Have this host allowed there"),
        (has_no_way, "does not let us through (502)", "the proxy's own log"),
    ],
)
def test_a_proxy_that_refuses_is_named_with_the_reason(
    tmp_path, sandbox, authority, refuse, why, hint
):
    with running_proxy(sandbox.url, authority) as proxy:
        refuse(proxy)
        keys = {"proxy": proxy.url, "ca_file": str(authority.file)}
        with company(tmp_path, sandbox, None, **keys) as bench:
            checked = bench.run("check")
            status = (bench.run("once"), bench.run("status"))[1]

    address = proxy.url.partition("://")[2]
    assert checked.code == 1
    assert f"{AUTH} cannot be reached (the proxy {address} {why})" in checked.out
    assert f"(the proxy {address} {why})" in checked.out.partition("API")[2]
    assert hint in checked.out
    assert why in " ".join(status.out.split())


def test_a_proxy_that_is_not_there_is_told_from_an_api_that_is_away(tmp_path, sandbox):
    keys = {"proxy": "http://127.0.0.1:1"}
    with company(tmp_path, sandbox, None, **keys) as bench:
        checked = bench.run("check")

    assert "(the proxy 127.0.0.1:1: connection refused)" in checked.out
    assert "that this machine may reach the proxy" in checked.out


def test_a_certificate_that_is_not_trusted_names_its_issuer_and_the_key(
    tmp_path, sandbox, authority
):
    with (
        running_proxy(sandbox.url, authority) as proxy,
        company(tmp_path, sandbox, None, proxy=proxy.url) as bench,
    ):
        checked = bench.run("check")

    said = " ".join(checked.out.split())
    assert "its TLS certificate is not trusted" in said
    assert "issued by Example Corp Inspection CA" in said
    assert "name the file of its CA in `customergauge.ca_file`" in said


@pytest.mark.parametrize(
    ("key", "content", "why"),
    [
        ("ca_file", None, "No such file or directory"),
        ("ca_file", "nothing", "no such content"),
        ("client_certificate", None, "No such file or directory"),
        ("client_certificate", "nothing", "no such content"),
    ],
)
def test_a_file_that_cannot_be_used_ends_in_one_sentence(tmp_path, sandbox, key, content, why):
    file = tmp_path / "given.pem"
    if content is not None:
        file.write_text(content)
    with company(tmp_path, sandbox, None, **{key: "given.pem"}) as bench:
        ran = bench.run("once")
        checked = bench.run("check")

    assert ran.code == 2
    assert f"`customergauge.{key}`: {file} cannot be used ({why})." in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
    assert checked.code == 1
    assert why in checked.out


@pytest.mark.parametrize("given", ["socks5://anna:p4ss@proxy:1080", "http://[p4ss", "http://"])
def test_a_variable_that_names_no_proxy_is_named_itself(tmp_path, sandbox, monkeypatch, given):
    monkeypatch.setenv("HTTPS_PROXY", given)
    with company(tmp_path, sandbox, None) as bench:
        ran, status = bench.run("once"), bench.run("status")

    assert ran.code == 2
    assert "HTTPS_PROXY names no proxy that cdc-sync can speak to." in ran.err
    assert "Traceback" not in status.err
    assert "p4ss" not in ran.err + ran.out + status.out + status.err


@pytest.mark.parametrize("given", ["socks5://proxy:1080", "proxy.example.com", "http://"])
def test_what_is_no_proxy_is_refused_without_its_password(tmp_path, sandbox, given):
    with company(tmp_path, sandbox, None, proxy=given) as bench:
        ran = bench.run("once")

    assert ran.code == 2
    assert "customergauge.proxy" in ran.err
    assert "must be `env`, `none`, or the URL of a proxy" in " ".join(ran.err.split())


@pytest.mark.parametrize("by_key", [True, False])
def test_alerts_go_the_same_way_and_trust_the_same(
    tmp_path, sandbox, authority, monkeypatch, by_key
):
    with running_proxy(sandbox.url, authority) as proxy:
        keys = {"ca_file": str(authority.file), **({"proxy": proxy.url} if by_key else {})}
        if not by_key:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with company(tmp_path, sandbox, None, **keys) as bench:
            bench.configure(alerts={"urls": ["jsons://hook.example.test/"]})
            ran = bench.run("alerts", "test")

    assert set(proxy.asked) == {"hook.example.test:443"}
    # The sandbox takes no POST there: that it says so shows that it was reached.
    assert "error=405" in ran.out


def test_an_alert_to_this_machine_goes_straight(tmp_path, sandbox):
    with company(tmp_path, sandbox, None, proxy="http://127.0.0.1:1") as bench:
        bench.configure(alerts={"urls": [sandbox.url.replace("http://", "json://")]})
        ran = bench.run("alerts", "test")

    assert "error=405" in ran.out
