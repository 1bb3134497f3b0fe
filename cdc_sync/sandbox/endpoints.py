"""One path of the API: a fault may strike first; else what stands behind the path answers."""

from time import monotonic
from typing import Protocol

from starlette.types import Receive, Scope, Send

from cdc_sync.sandbox import exchange
from cdc_sync.sandbox.exchange import Answer, Line, Request, json_answer
from cdc_sync.sandbox.faults import Fault, Faults, Kind, Strike

TOO_MANY = 429
TEMPORARY_REDIRECT = 307


class Service(Protocol):
    """What stands behind one path."""

    def apply(self, request: Request, fault: str | None) -> Answer:
        """Do what is asked, and answer by the documented rules."""

    def turn_away(self, request: Request, status: int | None, fault: str | None) -> None:
        """Note that it was not done, and what was answered."""

    def expire(self) -> None:
        """Let every token issued so far be worth nothing."""


class Endpoint:
    """One path as an ASGI application."""

    def __init__(self, path: str, service: Service, faults: Faults) -> None:
        self._path = path
        self._service = service
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request in, and let it be struck or served."""
        line = Line(scope, receive, send)
        request = await exchange.read_request(line, monotonic())
        if request is None:
            return
        strike = self._faults.strike(self._path)
        await exchange.pause(strike.delay)
        match strike.fault:
            case None:
                kind = Kind.LATENCY if strike.delay else None
                await exchange.send_answer(self._service.apply(request, kind), line)
            case Fault(kind=Kind.STATUS | Kind.RATE | Kind.REDIRECT):
                await self._answer_instead(request, strike, strike.fault, line)
            case Fault(kind=Kind.RESET | Kind.HANG):
                await self._withhold(request, strike.fault, line)
            case Fault(kind=Kind.EXPIRY):
                self._service.expire()
                await exchange.send_answer(self._service.apply(request, Kind.EXPIRY), line)
            case _:
                await self._spoil(request, strike.fault, line)

    async def _answer_instead(
        self, request: Request, strike: Strike, fault: Fault, line: Line
    ) -> None:
        answer = _answer_of(fault, strike.retry_after, line)
        self._service.turn_away(request, answer.status, fault.kind)
        await exchange.send_answer(answer, line)

    async def _withhold(self, request: Request, fault: Fault, line: Line) -> None:
        self._service.turn_away(request, None, fault.kind)
        if fault.kind is Kind.HANG:
            await exchange.hang(fault.seconds, line)
        await exchange.drop(line)

    async def _spoil(self, request: Request, fault: Fault, line: Line) -> None:
        if fault.kind is Kind.LATE:
            await exchange.drop(line)
            await exchange.pause(fault.seconds)
        answer = self._service.apply(request, fault.kind)
        match fault.kind:
            case Kind.LOST if fault.status is not None:
                await exchange.send_answer(_answer_of(fault, fault.retry_after, line), line)
            case Kind.LOST:
                await exchange.drop(line)
            case Kind.TRUNCATED:
                await exchange.send_truncated(answer, line)
            case Kind.GARBAGE:
                await exchange.send_garbage(answer, line)
            case Kind.HUGE:
                await exchange.send_huge(answer, line)


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


BODILESS = {204, 304}
STATUS_OF = {Kind.RATE: TOO_MANY, Kind.REDIRECT: TEMPORARY_REDIRECT}
MESSAGES = {TOO_MANY: "Too Many Attempts.", TEMPORARY_REDIRECT: "Moved."}
