"""Which way a request takes."""

import pytest

from cdc_sync.rules.route import Route, choose_route

pytestmark = pytest.mark.quick

URL = "https://imports.api.eu.customergauge.com/contracts"
PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("key", "environment", "way"),
    [
        ("env", {}, "straight"),
        ("env", {"HTTPS_PROXY": PROXY}, "through proxy.example.com:3128 (HTTPS_PROXY)"),
        (
            "env",
            {"https_proxy": "proxy.example.com:3128"},
            "through proxy.example.com:3128 (https_proxy)",
        ),
        ("env", {"ALL_PROXY": PROXY}, "through proxy.example.com:3128 (ALL_PROXY)"),
        (
            "env",
            {"https_proxy": "", "HTTPS_PROXY": PROXY},
            "through proxy.example.com:3128 (HTTPS_PROXY)",
        ),
        ("env", {"HTTP_PROXY": PROXY}, "straight"),
        ("none", {"HTTPS_PROXY": PROXY}, "straight (customergauge.proxy)"),
        ("http://other:1", {"HTTPS_PROXY": PROXY}, "through other:1 (customergauge.proxy)"),
        ("http://other:1", {"NO_PROXY": "*"}, "through other:1 (customergauge.proxy)"),
    ],
)
def test_the_key_decides_or_leaves_it_to_the_environment(key, environment, way):
    assert str(choose_route(key, environment, URL)) == way


@pytest.mark.parametrize(
    "exceptions",
    [
        "*",
        "customergauge.com",
        ".customergauge.com",
        "*.customergauge.com",
        "localhost, imports.api.eu.CustomerGauge.com",
        "customergauge.com:443",
    ],
)
def test_no_proxy_takes_a_host_out(exceptions):
    found = choose_route("env", {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}, URL)

    assert found == Route(None, "NO_PROXY")


@pytest.mark.parametrize(
    "exceptions",
    ["", "gauge.com", "auth.eu.customergauge.com", "customergauge.com:8443", "192.0.2.0/24", "::1"],
)
def test_no_proxy_takes_no_other_host_out(exceptions):
    found = choose_route("env", {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}, URL)

    assert found.proxy == PROXY


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("192.0.2.3", "192.0.2.0/24"),
        ("192.0.2.3", "192.0.2.3:443"),
        ("192.0.2.3", "203.0.113.9,192.0.2.3"),
        ("[2001:db8::7]", "2001:db8::/32"),
        ("[2001:db8::7]", "[2001:db8::7]:443"),
    ],
)
def test_no_proxy_takes_addresses_and_networks(host, exceptions):
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}

    assert choose_route("env", environment, f"https://{host}/").proxy is None
    assert choose_route("env", environment, "https://198.51.100.3/").proxy == PROXY


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_this_machine_is_reached_straight(host):
    assert choose_route(PROXY, {"HTTPS_PROXY": PROXY}, f"http://{host}:8080/") == Route()


def test_user_and_password_are_decoded_and_not_shown():
    found = choose_route("http://anna:p%40ss%2Fw@proxy.example.com:3128", {}, URL)

    assert found.login == ("anna", "p@ss/w")
    assert "p" + "%40" not in repr(found)
    assert str(found) == "through proxy.example.com:3128 (customergauge.proxy)"
