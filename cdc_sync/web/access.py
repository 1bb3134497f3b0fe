"""Who may read and who may act: decided from one request's host, origin and token alone."""

import hashlib
import hmac
import ipaddress
import socket
import threading
from asyncio import sleep
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from time import monotonic
from typing import TypeAlias
from urllib.parse import parse_qsl, quote

import structlog
from anyio import CapacityLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()
LOGIN = "/login"
SESSION_LIFETIME = timedelta(days=30)
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # `no-referrer` would make the Origin of our own forms "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_TO_ALL = (LOGIN, "/assets/")
_SAFE_METHODS = {"GET", "HEAD"}
FAILURE_DELAY = 1.0  # seconds
AT_A_TIME = 4  # so that guessing from many connections is no faster
LOGGED_EVERY = 60.0  # seconds
FORM_TYPE = "application/x-www-form-urlencoded"
LARGEST_BODY = 16 * 1024
MOST_FIELDS = 20
Form: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Visitor:
    """What one request may do; `logged_in`: it brought the token, or a cookie made from it."""

    may_read: bool
    may_act: bool
    logged_in: bool


class Secret:
    """The token of the page, and the cookies that only its owner can have made."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    @property
    def is_set(self) -> bool:
        """Whether there is a token at all; without one nobody may act."""
        return self._token is not None

    def is_token(self, text: str) -> bool:
        """Whether this is the token; takes the same time for every text."""
        return self._token is not None and hmac.compare_digest(
            hashlib.sha256(text.encode("utf-8", "replace")).digest(),
            hashlib.sha256(self._token).digest(),
        )

    def cookie(self, now: datetime) -> str:
        """Returns a cookie's value; it stays good over a restart of the daemon, and expires."""
        ends = str(int((now + SESSION_LIFETIME).timestamp()))
        return f"{ends}.{self._signature(ends)}"

    def is_cookie(self, value: str, now: datetime) -> bool:
        """Whether this is such a cookie, and has not expired."""
        ends, _, signature = value.partition(".")
        if self._token is None or not (ends.isascii() and ends.isdecimal()) or len(ends) > 12:
            return False
        expected = self._signature(ends).encode()
        is_ours = hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        return is_ours and now.timestamp() < int(ends)

    def _signature(self, ends: str) -> str:
        key = hashlib.sha256(b"cdc-sync page\0" + (self._token or b"")).digest()
        return hmac.new(key, ends.encode(), hashlib.sha256).hexdigest()


class LoginThrottle:
    """Slows wrong tokens down and logs their number; a right one is never delayed by them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limiter = CapacityLimiter(AT_A_TIME)
        self._unlogged = 0
        self._log_due = 0.0

    async def failed(self, address: str) -> None:
        """Counts a wrong token from this address, and waits."""
        self._count(address)
        async with self._limiter:
            await sleep(FAILURE_DELAY)

    def _count(self, address: str) -> None:
        with self._lock:
            self._unlogged += 1
            if monotonic() < self._log_due:
                return
            count, self._unlogged = self._unlogged, 0
            self._log_due = monotonic() + LOGGED_EVERY
        log.warning("page.login_refused", count=count, latest_from=address)


class AccessMiddleware:
    """Refuses requests by host, origin and token, so that the application need not ask again."""

    def __init__(
        self,
        app: ASGIApp,
        listen_host: str,
        secret: Secret,
        now: Callable[[], datetime],
        throttle: LoginThrottle,
    ) -> None:
        self._app = app
        self._hosts = _own_hosts(listen_host)
        self._secret = secret
        self._now = now
        self._throttle = throttle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that is refused, and hands on the others with their visitor."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visitor = self._identify(scope, headers)
        scope["state"]["visitor"] = visitor
        if _bearer_token(headers) is not None and not visitor.logged_in:
            await self._throttle.failed(client_address(scope))
        refusal = self._refuse_foreign(scope, headers) or self._refuse_unauthorized(
            scope, headers, visitor
        )
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _identify(self, scope: Scope, headers: Headers) -> Visitor:
        logged_in = self._has_token(headers) or self._has_cookie(scope, headers)
        # Behind a proxy on this machine everybody would come from loopback.
        is_forwarded = "x-forwarded-for" in headers or "forwarded" in headers
        is_local = is_loopback(scope["client"][0] if scope.get("client") else None)
        return Visitor(logged_in or (is_local and not is_forwarded), logged_in, logged_in)

    def _has_token(self, headers: Headers) -> bool:
        token = _bearer_token(headers)
        return token is not None and self._secret.is_token(token)

    def _has_cookie(self, scope: Scope, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(cookie_name(scope))
        except CookieError:
            return False
        return found is not None and self._secret.is_cookie(found.value, self._now())

    def _refuse_foreign(self, scope: Scope, headers: Headers) -> Response | None:
        host, origin = headers.get("host"), headers.get("origin")
        reached = scope["server"][0] if scope.get("server") else None
        if not is_own_host(host, self._hosts, reached):
            return _refusal(421, "This page is not served under that name: use its address.")
        if _is_embedded(headers):
            return _refusal(403, "Another page may lead here, but not load from here.")
        if scope["method"] in _SAFE_METHODS:
            return None
        if origin is None and "authorization" not in headers:
            return _refusal(403, "A request without Origin needs the token as bearer.")
        if origin is not None and not is_same_origin(origin, host):
            return _refusal(403, "This request comes from another page.")
        return None

    def _refuse_unauthorized(
        self, scope: Scope, headers: Headers, visitor: Visitor
    ) -> Response | None:
        is_read = scope["method"] in _SAFE_METHODS
        may = visitor.may_read if is_read else visitor.may_act
        if may or scope["path"].startswith(_OPEN_TO_ALL):
            return None
        if not self._secret.is_set:
            return _refusal(403, "This needs `web.token` in the configuration, and there is none.")
        if is_read and "text/html" in headers.get("accept", ""):
            asked = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}".rstrip("?"))
            return RedirectResponse(f"{LOGIN}?next={quote(asked)}", 303)
        return _refusal(401, f"This needs the token: log in at {LOGIN}, or send it as bearer.")


def is_own_host(host: str | None, names: frozenset[str], reached: str | None) -> bool:
    """Whether a Host header names this page; `reached` is the address that was connected to.

    This keeps out a foreign name that was made to resolve to us. The port proves nothing: a tunnel
    has another one.
    """
    name = host_name(host)
    return name is not None and name in (names | _LOCAL_HOSTS | {(reached or "").lower()})


def is_same_origin(origin: str, host: str | None) -> bool:
    """Whether a page of ours sent the request: its Origin is where it went."""
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and host is not None and place.lower() == host.lower()


def is_loopback(address: str | None) -> bool:
    """Whether an address is this machine's own."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def host_name(host: str | None) -> str | None:
    """Returns the name in `name:port`, without a port and without the brackets of IPv6."""
    if not host:
        return None
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def safe_path(path: str | None) -> str:
    """Returns where to go on after a log-in: a path of this page, or else its beginning."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")):
        return "/"
    return path if path.isprintable() and path.isascii() else "/"


def cookie_name(scope: Scope) -> str:
    """Returns a name with our port in it: a browser sends a cookie to all ports of a machine."""
    return f"cdc_sync_{scope['server'][1] if scope.get('server') else 0}"


def client_address(scope: Scope) -> str:
    """Returns where a request comes from, for the log."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


async def read_form(request: Request) -> Form:
    """Returns the fields of a POST. Raises HTTPException where it is too large, or no form."""
    kind = request.headers.get("content-type", FORM_TYPE).partition(";")[0].strip().lower()
    if kind != FORM_TYPE:
        raise HTTPException(415, f"Send the fields as {FORM_TYPE}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"No form is larger than {LARGEST_BODY} bytes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise HTTPException(400, "This is no form.") from None


def _own_hosts(listen_host: str) -> frozenset[str]:
    names = {host_name(listen_host) or "", socket.gethostname().lower()}
    if not is_loopback(listen_host.strip("[]")):
        names.add(socket.getfqdn().lower())  # it may ask a name server: only where others come
    return frozenset(names - {""})


def _bearer_token(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_embedded(headers: Headers) -> bool:
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    return site not in (None, "same-origin", "none") and mode != "navigate"


def _refusal(status: int, message: str) -> Response:
    challenge = {"www-authenticate": 'Bearer realm="cdc-sync"'} if status == 401 else {}
    return PlainTextResponse(f"{message}\n", status, challenge)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers
