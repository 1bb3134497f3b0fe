"""The paths of the API: a fault may strike a request; else it is served by the documented rules."""

import asyncio
import json
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import token_urlsafe
from threading import Lock
from time import monotonic
from typing import Any, NoReturn
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cdc_sync.sandbox.faults import Fault, FaultKind, Faults
from cdc_sync.sandbox.ledger import Arrival, Entry, Ledger

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
NO_STORE = {"cache-control": "no-store"}
BODY_MAX = 1 << 20  # bytes; no documented body comes near it
HUGE = 32 << 20  # bytes
CHUNK = 1 << 16  # bytes
# SO_LINGER on, for zero seconds: closing then sends a reset rather than an orderly end.
RESET = struct.pack("ii", 1, 0)
VALID_MAX = 10_000  # tokens at once; beyond it the oldest ends early
TOKEN_ERRORS = {
    "invalid_request": "The request lacks the parameter grant_type.",
    "unsupported_grant_type": "The grant_type must be client_credentials.",
    "invalid_client": "Client authentication failed.",
}
MESSAGES = {
    307: "Moved.",
    401: "Unauthenticated.",
    413: "The payload is too large.",
    415: "The Content-Type must be application/json.",
    429: "Too Many Attempts.",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has been read, and the fault that it is served with."""

    headers: Headers
    raw: bytes | None  #: None: longer than BODY_MAX
    started: float  #: on the monotonic clock
    fault: FaultKind | None = None

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Tokens:
    """Issues bearer tokens and knows which are valid; any thread may use it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = Lock()
        self._ends: dict[str, float] = {}

    def issue(self) -> str:
        """Return a new token, valid from now on."""
        token, now = token_urlsafe(32), monotonic()
        with self._lock:
            valid = [(issued, end) for issued, end in self._ends.items() if now < end]
            self._ends = {**dict(valid[1 - VALID_MAX :]), token: now + self.seconds}
        return token

    def is_valid(self, authorization: str) -> bool:
        """Whether this Authorization header carries a valid token."""
        scheme, _, token = authorization.partition(" ")
        end = self._ends.get(token.strip())
        return scheme.lower() == "bearer" and end is not None and monotonic() < end

    def revoke_all(self) -> None:
        """End every token issued so far."""
        with self._lock:
            self._ends.clear()


@dataclass(frozen=True, slots=True)
class Endpoint(ABC):
    """One path of the API as an ASGI application."""

    path: str  #: as faults and the ledger call it
    ledger: Ledger
    tokens: Tokens
    faults: Faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read one request; serve it, or let a fault strike it."""
        connection = Connection(scope, receive, send)
        call = await connection.read_call(monotonic())
        if call is None:
            return
        strike = self.faults.strike(self.path)
        await pause(strike.delay)
        if strike.fault is None:
            kind = FaultKind.LATENCY if strike.delay else None
            await connection.send_response(self.apply(replace(call, fault=kind)))
        else:
            await self._fail(replace(call, fault=strike.fault.kind), strike.fault, connection)

    @abstractmethod
    def apply(self, call: Call) -> Response:
        """Do what is asked, and answer by the documented rules."""

    @abstractmethod
    def reject(self, call: Call, status: int | None) -> None:
        """Record that a call was not applied, and what was answered; None: nothing."""

    async def _fail(self, call: Call, fault: Fault, connection: "Connection") -> None:
        match fault.kind:
            case FaultKind.STATUS | FaultKind.RATE | FaultKind.REDIRECT:
                response = _response_of(fault, connection)
                self.reject(call, response.status_code)
                await connection.send_response(response)
            case FaultKind.HANG:
                self.reject(call, None)
                await connection.hang(fault.seconds)
            case FaultKind.RESET:
                self.reject(call, None)
                await connection.reset()
            case FaultKind.EXPIRY:
                self.tokens.revoke_all()
                await connection.send_response(self.apply(call))
            case FaultKind.LATE:
                await connection.reset()
                await pause(fault.seconds)
                self.apply(call)
            case _:
                await _send_spoiled(self.apply(call), fault, connection)


async def _send_spoiled(response: Response, fault: Fault, connection: "Connection") -> None:
    """Send something else than the response of a call that was applied."""
    match fault.kind:
        case FaultKind.TRUNCATED:
            await connection.send_truncated(response)
        case FaultKind.HUGE:
            await connection.send_huge(response)
        case FaultKind.GARBAGE:
            garbage = Response(b'{"\xff\x00<html>', response.status_code, media_type=JSON)
            await connection.send_response(garbage)
        case FaultKind.LOST if fault.status is not None:
            await connection.send_response(_response_of(fault, connection))
        case _:
            await connection.reset()


def _response_of(fault: Fault, connection: "Connection") -> Response:
    default = {FaultKind.RATE: 429, FaultKind.REDIRECT: 307}.get(fault.kind, 500)
    status = fault.status or default
    headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
    if fault.kind is FaultKind.REDIRECT:
        headers["location"] = connection.scope["path"]
    if status in {204, 304}:
        return Response(None, status, headers)
    if fault.body is not None:
        return Response(fault.body, status, headers, JSON)
    return json_response(status, {"message": MESSAGES.get(status, "Server Error")}, headers)


@dataclass(frozen=True, slots=True)
class TokenEndpoint(Endpoint):
    """POST /oauth2/token: OAuth2 client credentials, sent in the form body (RFC 6749, 4.4)."""

    client_id: str
    client_secret: str

    def apply(self, call: Call) -> Response:
        """Issue a token to the client that we know."""
        form = _form(call)
        if "grant_type" not in form:
            return _token_error(400, "invalid_request")
        if form["grant_type"] != "client_credentials":
            return _token_error(400, "unsupported_grant_type")
        client = (form.get("client_id"), form.get("client_secret"))
        if client != (self.client_id, self.client_secret):
            return _token_error(401, "invalid_client")
        self.ledger.count_token()
        token = {"access_token": self.tokens.issue(), "token_type": "Bearer"}
        return json_response(200, token | {"expires_in": int(self.tokens.seconds)}, NO_STORE)

    def reject(self, call: Call, status: int | None) -> None:
        """Record nothing: only tokens that were issued count."""


@dataclass(frozen=True, slots=True)
class PutEndpoint(Endpoint):
    """PUT /contracts or PUT /accounts."""

    strict_accounts: bool = False

    def apply(self, call: Call) -> Response:
        """Check the caller, then apply the body."""
        status = self._refusal(call)
        if status is not None:
            self.reject(call, status)
            return json_response(status, {"message": MESSAGES[status]})
        entry = self.ledger.put(self._arrival(call), strict_accounts=self.strict_accounts)
        return _put_response(entry, call)

    def reject(self, call: Call, status: int | None) -> None:
        """Keep it in the ledger as not applied."""
        self.ledger.reject(self._arrival(call), status)

    def _refusal(self, call: Call) -> int | None:
        if not self.tokens.is_valid(call.headers.get("authorization", "")):
            return 401
        if call.raw is None:
            return 413
        return None if call.media_type == JSON else 415

    def _arrival(self, call: Call) -> Arrival:
        return Arrival(self.path, _json_body(call.raw), call.started, call.fault)


def _form(call: Call) -> dict[str, str]:
    if call.media_type != FORM or call.raw is None:
        return {}
    fields = parse_qs(call.raw.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def _token_error(status: int, error: str) -> Response:
    document = {"error": error, "error_description": TOKEN_ERRORS[error]}
    return json_response(status, document, NO_STORE)


def _put_response(entry: Entry, call: Call) -> Response:
    if entry.applied:
        return json_response(entry.status or 200, {"data": {"reference": entry.reference}})
    # Laravel takes a caller that does not ask for JSON to be a browser, and sends it back.
    if JSON not in call.headers.get("accept", ""):
        return Response(None, 302, {"location": "/"})
    refusal = {"message": "The given data was invalid.", "errors": entry.errors}
    return json_response(entry.status or 422, refusal)


def _json_body(raw: bytes | None) -> Any:
    def refuse(constant: str) -> NoReturn:
        # Python reads NaN and Infinity, which JSON does not have and CustomerGauge cannot read.
        raise ValueError(constant)

    try:
        return json.loads((raw or b"").decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def json_response(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with this document, escaped to ASCII: UTF-8 cannot hold half a surrogate pair."""
    return Response(json.dumps(document), status, headers, JSON)


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection of one request: reads it, and answers it well or badly."""

    scope: Scope
    receive: Receive
    send: Send

    async def read_call(self, started: float) -> Call | None:
        """Read the whole request; None where its connection ended before it did."""
        headers, raw, more = Headers(scope=self.scope), b"", True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return None
            raw += message.get("body", b"")
            more = message.get("more_body", False)
            if len(raw) > BODY_MAX:
                return Call(headers, None, started)
        return Call(headers, raw, started)

    async def send_response(self, response: Response) -> None:
        """Send it as it is."""
        await response(self.scope, self.receive, self.send)

    async def send_truncated(self, response: Response) -> None:
        """Send half of the body that the head announces, and end the connection."""
        await self._start(response, len(response.body) + CHUNK)
        half = response.body[: len(response.body) // 2]
        await self.send({"type": "http.response.body", "body": half, "more_body": True})
        self._transport.close()
        await self._wait_closed()

    async def send_huge(self, response: Response) -> None:
        """Send a body that nobody should keep in memory."""
        await self._start(response, HUGE)
        chunk = b" " * CHUNK
        for sent in range(CHUNK, HUGE + 1, CHUNK):
            message = {"type": "http.response.body", "body": chunk, "more_body": sent < HUGE}
            await self.send(message)

    async def hang(self, seconds: float) -> None:
        """Say nothing until the caller gives up or the time is over; 0 seconds: for ever."""
        closed = asyncio.ensure_future(self._wait_closed())
        await asyncio.wait([closed], timeout=seconds or None)
        closed.cancel()
        await self.reset()

    async def reset(self) -> None:
        """Reset the connection, as a network that breaks does."""
        peer = self._transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()
        await self._wait_closed()

    @property
    def _transport(self) -> asyncio.Transport:
        # ASGI has no word for dropping a connection; web.server puts the transport there.
        transport: asyncio.Transport = self.scope["state"]["transport"]
        return transport

    async def _wait_closed(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _start(self, response: Response, length: int) -> None:
        headers = response.headers.mutablecopy()
        headers["content-length"] = str(length)
        start = {"type": "http.response.start", "status": response.status_code}
        await self.send(start | {"headers": headers.raw})


async def pause(seconds: float) -> None:
    """Let the time pass."""
    if seconds:
        await asyncio.sleep(seconds)
