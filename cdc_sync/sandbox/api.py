"""One path of the API: a fault may strike first; else what stands behind the path answers."""

import asyncio
import json
import socket
import struct
from asyncio import sleep
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_urlsafe
from threading import Lock
from time import monotonic
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from cdc_sync.sandbox.faults import Fault, Faults, Kind, Strike
from cdc_sync.sandbox.ledger import Arrival, Entry, Ledger

TOO_MANY = 429
TEMPORARY_REDIRECT = 307
BODILESS = {204, 304}
STATUS_OF = {Kind.RATE: TOO_MANY, Kind.REDIRECT: TEMPORARY_REDIRECT}
MESSAGES = {TOO_MANY: "Too Many Attempts.", TEMPORARY_REDIRECT: "Moved."}
FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
NO_STORE = {"cache-control": "no-store"}
OBJECTIONS = {
    401: "Unauthenticated.",
    413: "The payload is too large.",
    415: "The Content-Type must be application/json.",
}
REASONS = {
    "invalid_request": "The request lacks the parameter grant_type.",
    "unsupported_grant_type": "The grant_type must be client_credentials.",
    "invalid_client": "Client authentication failed.",
}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


# Python reads NaN and Infinity, which JSON does not have and CustomerGauge cannot read.
STRICT = json.JSONDecoder(parse_constant=_no_constant)
BODY_MAX = 1 << 20  # bytes; no documented body comes near it
HUGE = 32 << 20  # bytes
CHUNK = 1 << 16  # bytes
# SO_LINGER on, for zero seconds: closing then sends a reset rather than an orderly end.
RESET = struct.pack("ii", 1, 0)
VALID_MAX = 10_000  # tokens at once; beyond it the oldest ends early


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    headers: dict[bytes, bytes]
    raw: bytes | None  #: None: longer than the sandbox takes
    arrived: float  #: on the monotonic clock


class Service(Protocol):
    """What stands behind one path."""

    def apply(self, request: Request, fault: str | None) -> Answer:
        """Do what is asked, and answer by the documented rules."""

    def turn_away(self, request: Request, status: int | None, fault: str | None) -> None:
        """Note that it was not done, and what was answered."""

    def expire(self) -> None:
        """Let every token issued so far be worth nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """The connection of one request, as ASGI gives it."""

    scope: Scope
    receive: Receive
    send: Send

    @property
    def transport(self) -> asyncio.Transport:
        """What is beneath it; the server puts it there, for ASGI has no word for dropping."""
        transport: asyncio.Transport = self.scope["state"]["transport"]
        return transport

    async def ended(self) -> None:
        """Wait until it is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Endpoint:
    """One path as an ASGI application."""

    def __init__(self, path: str, service: Service, faults: Faults) -> None:
        self._path = path
        self._service = service
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request in, and let it be struck or served."""
        line = Line(scope, receive, send)
        request = await read_request(line, monotonic())
        if request is None:
            return
        strike = self._faults.strike(self._path)
        await pause(strike.delay)
        match strike.fault:
            case None:
                kind = Kind.LATENCY if strike.delay else None
                await send_answer(self._service.apply(request, kind), line)
            case Fault(kind=Kind.STATUS | Kind.RATE | Kind.REDIRECT):
                await self._answer_instead(request, strike, strike.fault, line)
            case Fault(kind=Kind.RESET | Kind.HANG):
                await self._withhold(request, strike.fault, line)
            case Fault(kind=Kind.EXPIRY):
                self._service.expire()
                await send_answer(self._service.apply(request, Kind.EXPIRY), line)
            case _:
                await self._spoil(request, strike.fault, line)

    async def _answer_instead(
        self, request: Request, strike: Strike, fault: Fault, line: Line
    ) -> None:
        answer = _answer_of(fault, strike.retry_after, line)
        self._service.turn_away(request, answer.status, fault.kind)
        await send_answer(answer, line)

    async def _withhold(self, request: Request, fault: Fault, line: Line) -> None:
        self._service.turn_away(request, None, fault.kind)
        if fault.kind is Kind.HANG:
            await hang(fault.seconds, line)
        await drop(line)

    async def _spoil(self, request: Request, fault: Fault, line: Line) -> None:
        if fault.kind is Kind.LATE:
            await drop(line)
            await pause(fault.seconds)
        answer = self._service.apply(request, fault.kind)
        match fault.kind:
            case Kind.LOST if fault.status is not None:
                await send_answer(_answer_of(fault, fault.retry_after, line), line)
            case Kind.LOST:
                await drop(line)
            case Kind.TRUNCATED:
                await send_truncated(answer, line)
            case Kind.GARBAGE:
                await send_garbage(answer, line)
            case Kind.HUGE:
                await send_huge(answer, line)


def _answer_of(fault: Fault, retry_after: str | None, line: Line) -> Answer:
    status = fault.status or STATUS_OF.get(fault.kind, 500)
    headers = {} if retry_after is None else {"retry-after": retry_after}
    if fault.kind is Kind.REDIRECT:
        headers["location"] = line.scope["path"]
    if status in BODILESS:
        return Answer(status, b"", headers)
    if fault.body is not None:
        return Answer(status, fault.body.encode(), headers)
    return json_answer(status, {"message": MESSAGES.get(status, "Server Error")}, headers)


class Tokens:
    """Issues bearer tokens and knows which are valid; any thread may use it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = Lock()
        self._ends: dict[str, float] = {}

    def issue(self) -> str:
        """Give a new token, valid from now on."""
        token = token_urlsafe(32)
        with self._lock:
            self._forget_ended()
            self._ends[token] = monotonic() + self.seconds
        return token

    def admits(self, authorization: bytes) -> bool:
        """Whether this Authorization header carries a valid token."""
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        end = self._ends.get(token.strip())
        return scheme.lower() == "bearer" and end is not None and monotonic() < end

    def revoke_all(self) -> None:
        """Let every token issued so far be worth nothing."""
        with self._lock:
            self._ends.clear()

    def _forget_ended(self) -> None:
        now = monotonic()
        kept = [(token, end) for token, end in self._ends.items() if now < end]
        self._ends = dict(kept[1 - VALID_MAX :])


@dataclass(frozen=True, slots=True)
class TokenService:
    """POST /oauth2/token: OAuth2 client credentials, sent in the form body (RFC 6749, 4.4)."""

    tokens: Tokens
    ledger: Ledger
    client_id: str
    client_secret: str

    def apply(self, request: Request, _fault: str | None) -> Answer:
        """Issue a token to our client."""
        form = _form(request)
        if form.get("grant_type") != "client_credentials":
            known = "grant_type" in form
            return _refusal(400, "unsupported_grant_type" if known else "invalid_request")
        if (form.get("client_id"), form.get("client_secret")) != (
            self.client_id,
            self.client_secret,
        ):
            return _refusal(401, "invalid_client")
        self.ledger.count_token()
        token = {"access_token": self.tokens.issue(), "token_type": "Bearer"}
        return json_answer(200, token | {"expires_in": int(self.tokens.seconds)}, NO_STORE)

    def turn_away(self, request: Request, status: int | None, fault: str | None) -> None:
        """Nothing to note: only tokens that were issued count."""

    def expire(self) -> None:
        """End the tokens so far; the one that is asked for is good."""
        self.tokens.revoke_all()


@dataclass(frozen=True, slots=True)
class PutService:
    """PUT /contracts or PUT /accounts."""

    path: str
    put: Callable[[Arrival], Entry]
    tokens: Tokens
    ledger: Ledger

    def apply(self, request: Request, fault: str | None) -> Answer:
        """Check the caller, then apply the body by the documented rules."""
        status = self._objection(request)
        if status is not None:
            self.turn_away(request, status, fault)
            return json_answer(status, {"message": OBJECTIONS[status]})
        return _told(self.put(self._arrival(request, fault)), request)

    def turn_away(self, request: Request, status: int | None, fault: str | None) -> None:
        """Keep it in the ledger as not applied."""
        self.ledger.turn_away(self._arrival(request, fault), status)

    def expire(self) -> None:
        """End the tokens so far, the caller's, too."""
        self.tokens.revoke_all()

    def _arrival(self, request: Request, fault: str | None) -> Arrival:
        return Arrival(self.path, _json(request.raw), request.arrived, fault)

    def _objection(self, request: Request) -> int | None:
        if not self.tokens.admits(request.headers.get(b"authorization", b"")):
            return 401
        if request.raw is None:
            return 413
        return None if _media_type(request) == JSON else 415


def _told(entry: Entry, request: Request) -> Answer:
    if entry.applied:
        return json_answer(entry.status or 200, {"data": {"reference": entry.reference}})
    # Laravel takes a caller that does not ask for JSON to be a browser, and sends it back.
    if JSON not in request.headers.get(b"accept", b""):
        return Answer(302, b"", {"location": "/"})
    refusal = {"message": "The given data was invalid.", "errors": entry.errors}
    return json_answer(entry.status or 422, refusal)


def _refusal(status: int, error: str) -> Answer:
    return json_answer(status, {"error": error, "error_description": REASONS[error]}, NO_STORE)


def _form(request: Request) -> dict[str, str]:
    if _media_type(request) != FORM or request.raw is None:
        return {}
    fields = parse_qs(request.raw.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def _media_type(request: Request) -> bytes:
    return request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _json(raw: bytes | None) -> Any:
    try:
        return STRICT.decode((raw or b"").decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def json_answer(status: int, document: Any, headers: dict[str, str] | None = None) -> Answer:
    """Answer with this document."""
    return Answer(status, json.dumps(document).encode(), headers or {})


async def read_request(line: Line, arrived: float) -> Request | None:
    """Take in the whole request; None when its connection ended before it did."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await line.receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > BODY_MAX:
            return Request(dict(line.scope["headers"]), None, arrived)
    return Request(dict(line.scope["headers"]), b"".join(parts), arrived)


async def send_answer(answer: Answer, line: Line) -> None:
    """Send it as it is."""
    await _start(answer, len(answer.body), line)
    await line.send({"type": "http.response.body", "body": answer.body})


async def send_truncated(answer: Answer, line: Line) -> None:
    """Send half of the body that the head announces, and end the connection."""
    await _start(answer, len(answer.body) + CHUNK, line)
    half = answer.body[: len(answer.body) // 2]
    await line.send({"type": "http.response.body", "body": half, "more_body": True})
    line.transport.close()
    await line.ended()


async def send_garbage(answer: Answer, line: Line) -> None:
    """Send a body that claims to be JSON and is not even text."""
    await send_answer(Answer(answer.status, b'{"\xff\x00<html>', answer.headers), line)


async def send_huge(answer: Answer, line: Line) -> None:
    """Send a body that nobody should keep in memory."""
    await _start(answer, HUGE, line)
    chunk = b" " * CHUNK
    for sent in range(CHUNK, HUGE + 1, CHUNK):
        message = {"type": "http.response.body", "body": chunk, "more_body": sent < HUGE}
        await line.send(message)


async def drop(line: Line) -> None:
    """Reset the connection, as a network that breaks does."""
    transport = line.transport
    peer = transport.get_extra_info("socket")
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()
    await line.ended()


async def hang(seconds: float, line: Line) -> None:
    """Say nothing until the caller gives up or the time is over; 0 seconds: for ever."""
    gone = asyncio.ensure_future(line.ended())
    await asyncio.wait([gone], timeout=seconds or None)
    gone.cancel()
    await drop(line)


async def pause(seconds: float) -> None:
    """Let the time pass."""
    if seconds:
        await sleep(seconds)


async def _start(answer: Answer, length: int, line: Line) -> None:
    headers = {"content-type": "application/json", "content-length": str(length)} | answer.headers
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await line.send({"type": "http.response.start", "status": answer.status, "headers": raw})
