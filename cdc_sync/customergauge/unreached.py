"""Why no answer came, in the words of a person: from the exceptions of either HTTP library."""

import errno
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from cdc_sync.rules.route import Route

_STRAIGHT = Route()
_TUNNEL = re.compile(r"Tunnel connection failed: (?P<status>\d{3})")
_REACH = "and that this machine may reach it, if need be through a proxy (`customergauge.proxy`)."
_EXPIRED, _WRONG_HOST = (9, 10), 62  # X509_V_ERR_… of OpenSSL
_NO_HOST, _REFUSED, _CUT = "no such host", "connection refused", "the connection was cut"
_WANTS_CERTIFICATE = "it wants a certificate of ours"
_REFUSES_CERTIFICATE = "it does not take our certificate"
#: What the library of the PUTs says, in part, and what it means.
_SAID: Final = (
    ("proxy authorization required", "the proxy wants another user or password (407)"),
    ("tunnel error: unsuccessful", "the proxy does not let us through"),
    ("dns error", _NO_HOST),
    ("Connection refused", _REFUSED),
    ("Connection reset", _CUT),
    ("unreachable", "no route to that network"),
    ("certificate: Expired", "its TLS certificate has expired"),
    ("certificate: NotValidForName", "its TLS certificate is for another host"),
    ("invalid peer certificate", "its TLS certificate is not trusted"),
    ("CertificateRequired", _WANTS_CERTIFICATE),
    ("alert: UnknownCA", _REFUSES_CERTIFICATE),
    ("corrupt message", "TLS fails"),
)


class Unreached(NamedTuple):
    """What happened, in a few words that go on after an address, and what mends it."""

    why: str
    hint: str


def explain_put(causes: Sequence[str], route: Route) -> str:
    """Returns why a PUT got no answer, from what the library says, the outermost first."""
    said = " / ".join(causes)
    words = next((words for part, words in _SAID if part in said), causes[-1])
    if "tunnel error: failed to create underlying connection" in said:
        return f"the proxy {route.proxy_address}: {words}"
    return words


def unreached(
    error: Exception, key: str, route: Route = _STRAIGHT, issuer: str | None = None
) -> Unreached:
    """Returns what lies at the bottom of an exception of requests; `key` names the address."""
    causes = list(_causes(error))
    check = f"Check `customergauge.region` or `{key}`"
    if (tunnel := _TUNNEL.search(" ".join(map(str, causes)))) is not None:
        return _refused_by_proxy(int(tunnel["status"]), route)
    found = next((words for cause in causes if (words := _words(cause, check))), None)
    found = found or _last_words(error, check)
    if any(type(cause).__name__ == "ProxyError" for cause in causes):
        hint = f"Check {_naming(route)}, and that this machine may reach the proxy."
        return Unreached(f"the proxy {route.proxy_address}: {found.why}", hint)
    if issuer is not None and is_untrusted(error):
        return found._replace(why=f"{found.why}; issued by {issuer}")
    return found


def is_untrusted(error: Exception) -> bool:
    """Whether a certificate was not accepted."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _words(cause: BaseException, check: str) -> Unreached | None:
    if type(cause).__name__ == "NameResolutionError":
        return Unreached(_NO_HOST, f"{check}, and this machine's DNS.")
    match cause:
        case socket.gaierror():
            return Unreached(_NO_HOST, f"{check}, and this machine's DNS.")
        case ssl.SSLCertVerificationError():
            return _untrusted(cause)
        case ssl.SSLError():
            return _broken_tls(cause, check)
        case ConnectionRefusedError():
            return Unreached(_REFUSED, f"{check}, {_REACH}")
        case ConnectionError():
            return Unreached(_CUT, f"{check}, {_REACH}")
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            return Unreached("no route to that network", f"{check}, {_REACH}")
    return None


def _last_words(error: Exception, check: str) -> Unreached:
    """What the library itself tells, where nothing lies below its exception."""
    kinds = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    if "IncompleteRead" in kinds:
        return Unreached(_CUT, f"{check}, {_REACH}")
    if "ConnectTimeout" in kinds:
        return Unreached("no connection in time", f"{check}, {_REACH}")
    if "Timeout" in kinds:
        return Unreached("no answer in time", f"{check}, {_REACH}")
    if {"InvalidURL", "LocationValueError"} & kinds:
        return Unreached("not an address", f"{check}.")
    return Unreached("the answer is not HTTP", f"{check}.")


def _refused_by_proxy(status: int, route: Route) -> Unreached:
    naming = _naming(route)
    if status == 407:
        why = f"the proxy {route.proxy_address} wants another user or password (407)"
        return Unreached(why, f"Put `user:password@` before the host in {naming}.")
    if status == 403:
        why = f"the proxy {route.proxy_address} forbids the way there (403)"
        return Unreached(why, f"Have this host allowed there, or name another in {naming}.")
    why = f"the proxy {route.proxy_address} does not let us through ({status})"
    return Unreached(why, f"Check {naming}; the proxy's own log says more.")


def _naming(route: Route) -> str:
    return f"`{route.named_by or 'customergauge.proxy'}`"


def _untrusted(error: ssl.SSLCertVerificationError) -> Unreached:
    code = getattr(error, "verify_code", 0)
    if code == _WRONG_HOST:
        return Unreached(
            "its TLS certificate is for another host",
            "Check the address, and that nothing on the way answers in its place.",
        )
    said = error.verify_message or "certificate verify failed"
    if code in _EXPIRED:
        return Unreached(
            f"its TLS certificate is not trusted: {said}", "Check this machine's clock."
        )
    return Unreached(
        f"its TLS certificate is not trusted: {said}",
        "If your company's proxy opens TLS, name the file of its CA in `customergauge.ca_file`. "
        "If not, something on the way answers in its place.",
    )


def _broken_tls(error: ssl.SSLError, check: str) -> Unreached:
    reason = getattr(error, "reason", None) or ""
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return Unreached(_WANTS_CERTIFICATE, "Name its file in `customergauge.client_certificate`.")
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason:
        return Unreached(_REFUSES_CERTIFICATE, "Check `customergauge.client_certificate`.")
    return Unreached("TLS fails", f"{check}, and that https is spoken there.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the exceptions that it was made of, the deepest first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            inner = getattr(one, "reason", None)
            waiting += [one.__cause__, one.__context__, inner, *one.args]
    yield from reversed(found)
