"""Why a request found no answer, in words for people, with the mend."""

import errno
import socket
import ssl
from collections.abc import Iterator
from http.client import IncompleteRead
from typing import NamedTuple

from requests import RequestException
from requests.exceptions import ConnectTimeout, InvalidURL, Timeout
from urllib3.exceptions import HTTPError, LocationValueError, NameResolutionError

# The second, for a host such as a..b, comes through requests as it is.
FAILURES = (RequestException, LocationValueError)


class Unreached(NamedTuple):
    """What happened, in a few words that go on after an address, and what mends it."""

    why: str
    mend: str


_PROXY = "and that this machine may reach it (cdc-sync uses no proxy)."


def unreached(error: Exception, key: str) -> Unreached:
    """What lies at the bottom of the library's exception; `key` names the address."""
    check = f"Check `customergauge.region` or `{key}`"
    for cause in _causes(error):
        match cause:
            case socket.gaierror() | NameResolutionError():
                return Unreached("no such host", f"{check}, and this machine's DNS.")
            case ssl.SSLCertVerificationError():
                return _untrusted(cause)
            case ssl.SSLError():
                return Unreached("TLS fails", f"{check}, and that https is spoken there.")
            case ConnectionRefusedError():
                return Unreached("connection refused", f"{check}, {_PROXY}")
            case ConnectionError() | IncompleteRead():
                return Unreached("the connection was cut", f"{check}, {_PROXY}")
            case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
                return Unreached("no route to that network", f"{check}, {_PROXY}")
    if isinstance(error, Timeout):
        words = (
            "no connection in time" if isinstance(error, ConnectTimeout) else "no answer in time"
        )
        return Unreached(words, f"{check}, {_PROXY}")
    if isinstance(error, InvalidURL | LocationValueError):
        return Unreached("not an address", f"{check}.")
    return Unreached("the answer is not HTTP", f"{check}.")


def _untrusted(error: ssl.SSLCertVerificationError) -> Unreached:
    said = error.verify_message or "certificate verify failed"
    return Unreached(
        f"its TLS certificate is not trusted: {said}",
        "Check this machine's clock, and that nothing on the way answers in its place.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that it was made of, the deepest first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            inner = getattr(one, "reason", None) if isinstance(one, HTTPError) else None
            waiting += [one.__cause__, one.__context__, inner, *one.args]
    yield from reversed(found)
