"""The door of the page: every request passes it, and every answer gets its headers."""

import socket
from collections.abc import Callable
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdc_sync.web.access import Secret, Visitor, is_loopback, is_our_name, is_our_origin, name_of
from cdc_sync.web.guesses import Guesses

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
_OPEN_TO_ALL = ("/login", "/assets/")
_SAFE = {"GET", "HEAD"}
LOGIN = "/login"


class Door:
    """Lets in who may: by name, origin and token; an application behind it asks no more."""

    def __init__(
        self,
        app: ASGIApp,
        listen_host: str,
        secret: Secret,
        now: Callable[[], datetime],
        guesses: Guesses,
    ) -> None:
        self._app = app
        self._names = _names_of(listen_host)
        self._secret = secret
        self._now = now
        self._guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that may not pass, and hands on the others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visitor = self._visitor(scope, headers)
        scope["state"]["visitor"] = visitor
        if _bearer(headers) is not None and not visitor.logged_in:
            await self._guesses.wrong(address_of(scope))
        refusal = self._stranger(scope, headers) or self._refusal(scope, headers, visitor)
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        host, origin = headers.get("host"), headers.get("origin")
        reached = scope["server"][0] if scope.get("server") else None
        if not is_our_name(host, self._names, reached):
            return _said(421, "This page does not go by that name: ask for it by its address.")
        if _is_embedded(headers):
            return _said(403, "Another page may lead here, but not load from here.")
        if scope["method"] in _SAFE:
            return None
        by_token = "authorization" in headers
        if origin is None and not by_token:
            return _said(403, "A request without Origin needs the token as bearer.")
        if origin is not None and not is_our_origin(origin, host):
            return _said(403, "This request comes from another page.")
        return None

    def _refusal(self, scope: Scope, headers: Headers, visitor: Visitor) -> Response | None:
        is_read = scope["method"] in _SAFE
        if scope["path"].startswith(_OPEN_TO_ALL) or (
            visitor.may_read if is_read else visitor.may_act
        ):
            return None
        if not self._secret.is_set:
            return _said(403, "This needs `web.token` in the configuration, and there is none.")
        if is_read and "text/html" in headers.get("accept", ""):
            asked = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}".rstrip("?"))
            return RedirectResponse(f"{LOGIN}?next={quote(asked)}", 303)
        return _said(401, f"This needs the token: log in at {LOGIN}, or send it as bearer.")

    def _visitor(self, scope: Scope, headers: Headers) -> Visitor:
        logged_in = self._brings_token(headers) or self._brings_cookie(scope, headers)
        # Behind a proxy on this machine everybody would come from loopback.
        is_forwarded = "x-forwarded-for" in headers or "forwarded" in headers
        is_here = is_loopback(scope["client"][0] if scope.get("client") else None)
        return Visitor(logged_in or (is_here and not is_forwarded), logged_in, logged_in)

    def _brings_token(self, headers: Headers) -> bool:
        token = _bearer(headers)
        return token is not None and self._secret.is_token(token)

    def _brings_cookie(self, scope: Scope, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(cookie_name(scope))
        except CookieError:
            return False
        return found is not None and self._secret.is_cookie(found.value, self._now())


def _names_of(listen_host: str) -> frozenset[str]:
    names = {name_of(listen_host) or "", socket.gethostname().lower()}
    if not is_loopback(listen_host.strip("[]")):
        names.add(socket.getfqdn().lower())  # it may ask a name server: only where others come
    return frozenset(names - {""})


def cookie_name(scope: Scope) -> str:
    """The cookie of this page alone: a browser shares them among all ports of a machine."""
    return f"cdc_sync_{scope['server'][1] if scope.get('server') else 0}"


def address_of(scope: Scope) -> str:
    """Where a request comes from, for the log."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_embedded(headers: Headers) -> bool:
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    return site not in (None, "same-origin", "none") and mode != "navigate"


def _said(status: int, words: str) -> Response:
    challenge = {"www-authenticate": 'Bearer realm="cdc-sync"'} if status == 401 else {}
    return PlainTextResponse(f"{words}\n", status, challenge)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
