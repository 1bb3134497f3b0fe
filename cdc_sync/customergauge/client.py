"""One PUT to the imports API: follows nothing, repeats nothing, never raises for what HTTP can do.

Every request has one deadline as a whole.
"""

import ssl
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

from cdc_sync import __version__
from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.token import Token
from cdc_sync.log import Redaction
from cdc_sync.rules.verdict import Answer, NoAnswer, Reply

BODY_READ = 64 * 1024  # bytes of an answer that are read


class _Broken(Exception):  # a name for a state, not an error of ours
    """The connection died under a request."""


async def _never_twice(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    # aiohttp repeats a PUT by itself, once, on a kept connection that dies under it, and has no
    # switch for that; an exception that it does not know stops it.
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise _Broken(type(error).__name__) from error


async def _tell(_: ClientSession, request: SimpleNamespace, __: object) -> None:
    departure: Departure = request.trace_request_ctx
    departure.went_out()


def _traces() -> list[aiohttp.TraceConfig]:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_tell)
    return [trace]


class Request(NamedTuple):
    """One PUT: the path below the imports API, and its body."""

    path: str
    body: bytes


class Departure:
    """A request between its start and its way out; what is called twice counts once."""

    __slots__ = ("_end",)

    def __init__(self, end: Callable[..., None]) -> None:
        self._end: Callable[..., None] | None = end

    def went_out(self) -> None:
        """It is on the wire."""
        self._close(went_out=True)

    def is_over(self) -> None:
        """It has ended; where it never went out, it counts as nothing."""
        self._close(went_out=False)

    def _close(self, *, went_out: bool) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(went_out=went_out)


class Client:
    """The connections of one event loop to the imports API."""

    def __init__(self, config: CustomerGaugeConfig, redact: Redaction) -> None:
        self._base = config.imports_url
        self._redact = redact
        self._headers: tuple[str, dict[str, str]] = ("", {})
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.concurrency + 1,
                ssl=ssl.create_default_context() if self._base.startswith("https") else True,
            ),
            timeout=aiohttp.ClientTimeout(total=config.timeout.total_seconds()),
            middlewares=(_never_twice,),
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            # It costs each request a tenth, so only where a rate is to be kept.
            trace_configs=_traces() if config.rate_limit else None,
        )

    async def put(self, request: Request, token: Token, departure: Departure) -> Reply:
        """What came back for one PUT; `departure` is told when it goes out."""
        try:
            async with self._session.put(
                f"{self._base}/{request.path}",
                data=request.body,
                headers=self._headers_of(token),
                allow_redirects=False,
                trace_request_ctx=departure,
            ) as response:
                return Answer(
                    response.status, response.headers.get("Retry-After"), await self._body(response)
                )
        except aiohttp.ClientConnectorError as error:
            return NoAnswer(self._redact(f"no connection ({_reason(error)})"), doubt=False)
        except TimeoutError:
            return NoAnswer("no answer in time", doubt=True)
        except (_Broken, aiohttp.ClientError, OSError) as error:
            return NoAnswer(f"the connection broke ({_reason(error)})", doubt=True)

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def _body(self, response: ClientResponse) -> bytes:
        # 2xx speaks by its status alone; the body is read so that the connection can be kept.
        length = response.content_length
        if length is not None and length > BODY_READ:
            body = await _first(response, BODY_READ)
            response.close()
        else:
            body = await _first(response, BODY_READ)
        return (
            body
            if response.status < 300
            else self._redact(body.decode("utf-8", "replace")).encode()
        )

    def _headers_of(self, token: Token) -> dict[str, str]:
        if self._headers[0] != token.secret:
            headers = {
                "Authorization": f"Bearer {token.secret}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": f"cdc-sync/{__version__}",
            }
            self._redact.learn(token.secret)
            self._headers = (token.secret, headers)
        return self._headers[1]


async def _first(response: ClientResponse, limit: int) -> bytes:
    """At most `limit` bytes of a body; a body that breaks off has said what it had said."""
    chunks: list[bytes] = []
    try:
        while limit > 0 and not response.content.at_eof():
            chunk = await response.content.read(limit)
            chunks.append(chunk)
            limit -= len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
    if limit <= 0:
        response.close()
    return b"".join(chunks)


def _reason(error: BaseException) -> str:
    words = str(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
    return " ".join(words.split())[:200] or type(error).__name__


class Window:
    """Counts departures; for one thread, times by one clock that does not go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._departed: deque[float] = deque()
        self._starting = 0

    def start(self) -> "Departure":
        """One more that may go out at any moment from now on."""
        self._starting += 1
        return Departure(self._ended)

    def full_for(self, most: int, seconds: float) -> float:
        """How long until one more may start, so that in no such time more than `most` go out."""
        since = self._clock() - seconds
        while self._departed and self._departed[0] <= since:
            self._departed.popleft()
        excess = len(self._departed) + self._starting - most
        if excess < 0:
            return 0.0
        if excess < len(self._departed):
            return self._departed[excess] - since
        return seconds / most  # those that are starting fill it alone: asked again soon

    def _ended(self, *, went_out: bool) -> None:
        self._starting -= 1
        if went_out:
            self._departed.append(self._clock())
