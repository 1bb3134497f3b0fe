"""Who may read and who may act: decided from one request's host, origin and token alone."""

import hashlib
import hmac
import socket
from asyncio import sleep
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import TypeAlias
from urllib.parse import parse_qsl, quote

import structlog
from anyio import CapacityLimiter
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdc_sync.config.urls import is_loopback

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
    "cache-control": "no-store",
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
    """What one request may do; `may_act`: it brought the token, or a cookie made from it."""

    may_read: bool
    may_act: bool


class Secret:
    """The token of the page, and the cookies that were given for it.

    They are signed with a random `key` too: from a guessed token alone no cookie can be computed.
    """

    def __init__(self, token: str | None, key: bytes = b"") -> None:
        self._token = None if token is None else token.encode()
        self._cookie_key = hmac.digest(key, self._token or b"", "sha256")

    @property
    def is_set(self) -> bool:
        """Whether there is a token; without one nobody may act."""
        return self._token is not None

    def is_token(self, text: str) -> bool:
        """Whether this is the token; takes the same time for every text."""
        return self._token is not None and hmac.compare_digest(
            hashlib.sha256(text.encode("utf-8", "replace")).digest(),
            hashlib.sha256(self._token).digest(),
        )

    def cookie(self, now: datetime) -> str:
        """Returns a cookie's value, which expires and outlives a restart of the daemon."""
        ends = str(int((now + SESSION_LIFETIME).timestamp()))
        return f"{ends}.{self._signature(ends)}"

    def is_cookie(self, value: str, now: datetime) -> bool:
        """Whether this is the value of a cookie of ours that has not expired."""
        ends, _, signature = value.partition(".")
        expected = self._signature(ends).encode()
        is_ours = hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        return is_ours and self._is_current(ends, now)

    def is_wrong_cookie(self, value: str, now: datetime) -> bool:
        """Whether this would be a cookie, by its end, and was not given for this token."""
        return self._is_current(value.partition(".")[0], now) and not self.is_cookie(value, now)

    def _is_current(self, ends: str, now: datetime) -> bool:
        is_time = ends.isascii() and ends.isdecimal() and len(ends) <= 12
        return self._token is not None and is_time and now.timestamp() < int(ends)

    def _signature(self, ends: str) -> str:
        return hmac.new(self._cookie_key, ends.encode("utf-8", "replace"), "sha256").hexdigest()


class LoginThrottle:
    """Delays answers to wrong tokens and cookies and logs their number; right ones never wait."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(AT_A_TIME)
        self._unlogged = 0
        self._log_due = 0.0

    async def failed(self, address: str) -> None:
        """Counts a wrong token from this address, and waits."""
        self._unlogged += 1
        if monotonic() >= self._log_due:
            log.warning("page.login_refused", count=self._unlogged, latest_from=address)
            self._unlogged, self._log_due = 0, monotonic() + LOGGED_EVERY
        async with self._limiter:
            await sleep(FAILURE_DELAY)


class AccessMiddleware:
    """Refuses requests by host, origin and token, so that the application need not ask again."""

    def __init__(
        self, app: ASGIApp, listen_host: str, secret: Secret, now: Callable[[], datetime]
    ) -> None:
        self._app = app
        self._hosts = _own_hosts(listen_host)
        self._secret = secret
        self._now = now
        self._throttle = LoginThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that is refused, and hands on the others with their visitor."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        visitor = request.state.visitor = self._identify(request)
        has_wrong_cookie = self._has_wrong_cookie(request)
        if (_bearer_token(request) is not None or has_wrong_cookie) and not visitor.may_act:
            await self._throttle.failed(client_address(request))
        refusal = self._refuse_foreign(request) or self._refuse_unauthorized(request, visitor)
        stale = cookie_name(request) if has_wrong_cookie else None
        await (refusal or self._app)(scope, receive, self._answering(request, send, stale))

    def _has_wrong_cookie(self, request: Request) -> bool:
        cookie = request.cookies.get(cookie_name(request))
        return cookie is not None and self._secret.is_wrong_cookie(cookie, self._now())

    def _identify(self, request: Request) -> Visitor:
        token, cookie = _bearer_token(request), request.cookies.get(cookie_name(request))
        has_token = token is not None and self._secret.is_token(token)
        may_act = has_token or (cookie is not None and self._secret.is_cookie(cookie, self._now()))
        # Behind a proxy on this machine everybody would come from loopback.
        is_forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
        may_read = may_act or (is_loopback(client_address(request)) and not is_forwarded)
        return Visitor(may_read, may_act)

    def _refuse_foreign(self, request: Request) -> Response | None:
        host, origin = request.headers.get("host"), request.headers.get("origin")
        reached = request.scope["server"][0] if request.scope.get("server") else None
        if not is_own_host(host, self._hosts, reached):
            return _refusal(421, "This page is not served under that name: use its address.")
        if _is_embedded(request):
            return _refusal(403, "Another page may lead here, but not load from here.")
        if request.method in _SAFE_METHODS:
            return None
        if origin is None and "authorization" not in request.headers:
            return _refusal(403, "A request without Origin needs the token as bearer.")
        ours = (f"http://{host}".lower(), f"https://{host}".lower())
        if origin is not None and origin.lower() not in ours:
            return _refusal(403, "This request comes from another page.")
        return None

    def _refuse_unauthorized(self, request: Request, visitor: Visitor) -> Response | None:
        is_read = request.method in _SAFE_METHODS
        may = visitor.may_read if is_read else visitor.may_act
        if may or request.scope["path"].startswith(_OPEN_TO_ALL):
            return None
        if not self._secret.is_set:
            return _refusal(403, "This needs `web.token` in the configuration, and there is none.")
        if is_read and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{LOGIN}?next={quote(requested_path(request))}", 303)
        return _refusal(401, f"This needs the token: log in at {LOGIN}, or send it as bearer.")

    def _answering(self, request: Request, send: Send, stale: str | None) -> Send:
        """Returns `send` with our headers, and with a delay after a wrong token in the form.

        A `stale` cookie, as from before the token was changed, is deleted: it delays one page only.
        """

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if request.scope["path"] == LOGIN and message["status"] == 401:
                    await self._throttle.failed(client_address(request))
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if stale and not any(
                    given.startswith(f"{stale}=") for given in headers.getlist("set-cookie")
                ):
                    headers.append("set-cookie", f"{stale}=; Max-Age=0; Path=/; HttpOnly")
            await send(message)

        return answer


def is_own_host(host: str | None, names: frozenset[str], reached: str | None) -> bool:
    """Whether a Host header names this page; `reached` is the address that was connected to.

    This keeps out a foreign name that was made to resolve to us. The port proves nothing: a tunnel
    has another one.
    """
    name = host_name(host)
    return name is not None and name in (names | _LOCAL_HOSTS | {(reached or "").lower()})


def host_name(host: str | None) -> str | None:
    """Returns the name in `name:port`, without a port and without the brackets of IPv6."""
    if not host:
        return None
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def requested_path(request: Request) -> str:
    """Returns the path and the query that were asked for."""
    path, query = request.url.path, request.url.query
    return f"{path}?{query}" if query else path


def safe_path(path: str | None) -> str:
    """Returns where to go on after a log-in: a path of this page, or else its beginning."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")):
        return "/"
    return path if path.isprintable() and path.isascii() else "/"


def cookie_name(request: Request) -> str:
    """Returns a name with our port in it: a browser sends a cookie to all ports of a machine."""
    server = request.scope.get("server")
    return f"cdc_sync_{server[1] if server else 0}"


def client_address(request: Request) -> str:
    """Returns the address that a request comes from."""
    return request.client.host if request.client else "unknown"


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


def _bearer_token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_embedded(request: Request) -> bool:
    site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    return site not in (None, "same-origin", "none") and mode != "navigate"


def _refusal(status: int, message: str) -> Response:
    challenge = {"www-authenticate": 'Bearer realm="cdc-sync"'} if status == 401 else {}
    return PlainTextResponse(f"{message}\n", status, challenge)
