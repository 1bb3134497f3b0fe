"""Who may read and who may act: names, origins and tokens, decided from one request alone."""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

SESSION_LASTS = timedelta(days=30)
_ALWAYS_OURS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """What one request may do; `logged_in`: it brought the token, or a cookie made from it."""

    may_read: bool
    may_act: bool
    logged_in: bool


class Secret:
    """The token of the page, and cookies that only its owner can have made."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    @property
    def is_set(self) -> bool:
        """Whether there is a token at all; without one nobody may act."""
        return self._token is not None

    def is_token(self, text: str) -> bool:
        """Whether this is the token, in a time that tells nothing about it."""
        return self._token is not None and hmac.compare_digest(
            hashlib.sha256(text.encode("utf-8", "replace")).digest(),
            hashlib.sha256(self._token).digest(),
        )

    def cookie(self, now: datetime) -> str:
        """A cookie's value: it outlives a restart of the daemon, and ends by itself."""
        ends = str(int((now + SESSION_LASTS).timestamp()))
        return f"{ends}.{self._signature(ends)}"

    def is_cookie(self, value: str, now: datetime) -> bool:
        """Whether this is such a cookie, and has not ended."""
        ends, _, signature = value.partition(".")
        if self._token is None or not (ends.isascii() and ends.isdecimal()) or len(ends) > 12:
            return False
        expected = self._signature(ends).encode()
        is_ours = hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        return is_ours and now.timestamp() < int(ends)

    def _signature(self, ends: str) -> str:
        key = hashlib.sha256(b"cdc-sync page\0" + (self._token or b"")).digest()
        return hmac.new(key, ends.encode(), hashlib.sha256).hexdigest()


def is_our_name(host: str | None, names: frozenset[str], reached: str | None) -> bool:
    """Whether a Host header names us; `reached` is the address that the connection came to.

    The port is nobody's proof: a tunnel has another one. What this keeps out is a foreign name
    that was made to lead here.
    """
    name = name_of(host)
    return name is not None and name in (names | _ALWAYS_OURS | {(reached or "").lower()})


def is_our_origin(origin: str, host: str | None) -> bool:
    """Whether a page of ours sent it: the Origin is where the request went."""
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and host is not None and place.lower() == host.lower()


def is_loopback(address: str | None) -> bool:
    """Whether it comes from this machine."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def name_of(host: str | None) -> str | None:
    """The name in `name:port`, without a port and without the brackets of IPv6."""
    if not host:
        return None
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def safe_path(path: str | None) -> str:
    """Where to go on after a log-in: a path of this page, or its beginning."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")):
        return "/"
    return path if path.isprintable() and path.isascii() else "/"
