"""Decides which way a request takes to an address: straight, or through which proxy.

As curl and requests do it, but this machine itself is never reached through a proxy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

ENVIRONMENT, DIRECT = "env", "none"  # of `customergauge.proxy`
_KEY = "customergauge.proxy"
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")  # the first that is set
EXCEPTIONS = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Route:
    """A way to one address; `named_by` is the key or variable that decides it, if any does."""

    proxy: str | None = None  #: a URL, perhaps with user and password
    named_by: str | None = None

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password for the proxy, decoded."""
        parts = urlsplit(self.proxy or "")
        if parts.username is None:
            return None
        return unquote(parts.username), unquote(parts.password or "")

    @property
    def proxy_address(self) -> str:
        """The proxy's host and port, without user and password."""
        return urlsplit(self.proxy or "").netloc.rpartition("@")[2]

    def __str__(self) -> str:
        way = f"through {self.proxy_address}" if self.proxy else "straight"
        return f"{way} ({self.named_by})" if self.named_by else way

    def __repr__(self) -> str:
        return f"Route({self})"


def choose_route(proxy: str, environment: Mapping[str, str], url: str) -> Route:
    """Returns the way to a URL by the value of `customergauge.proxy`."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or 443
    if _is_this_machine(host):
        return Route()
    if proxy == DIRECT:
        return Route(None, _KEY)
    if proxy != ENVIRONMENT:
        return Route(proxy, _KEY)
    name = next((name for name in _PROXIES if environment.get(name)), None)
    if name is None:
        return Route()
    for exceptions in EXCEPTIONS:
        if any(_is_met(item, host, port) for item in environment.get(exceptions, "").split(",")):
            return Route(None, exceptions)
    found = environment[name].strip()
    return Route(found if "://" in found else f"http://{found}", name)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_met(item: str, host: str, port: int) -> bool:
    """Whether an item of NO_PROXY is for a host: a name, what ends so, an address or a network."""
    item = item.strip().lower()
    name, _, number = item.rpartition(":")
    if number.isdecimal() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        item = name
    if item == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        suffix = item.removeprefix("*").removeprefix(".")
        return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))
    try:
        return address in ip_network(item.strip("[]"), strict=False)
    except ValueError:
        return False
