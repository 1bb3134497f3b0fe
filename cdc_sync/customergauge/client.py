"""One PUT to the imports API: follows nothing, repeats nothing, never raises for what HTTP can do.

Every request has one deadline as a whole.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from pyreqwest.exceptions import DetailedPyreqwestError, RequestError, RequestTimeoutError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from cdc_sync import __version__
from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.connection import client_builder, route_to
from cdc_sync.customergauge.token import Token
from cdc_sync.customergauge.unreached import explain_put
from cdc_sync.log import Redaction
from cdc_sync.rules.verdict import Answer, NoAnswer, Reply

BODY_READ = 64 * 1024  # bytes of an answer that are read
# Of the library's errors only this one proves that nothing left; its ConnectError does not.
_NOT_CONNECTED = "client error (Connect)"


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
        # To tell the departure costs each request a tenth, so only where a rate is to be kept.
        self._tells_departures = config.rate_limit is not None
        self._route = route_to(config, config.imports_url)
        self._client = (
            client_builder(config)
            .timeout(config.timeout)
            .follow_redirects(False)
            .pool_max_idle_per_host(config.concurrency)
            .build()
        )

    async def put(self, request: Request, token: Token, departure: Departure) -> Reply:
        """What came back for one PUT; `departure` is told when it goes out."""
        try:
            async with self._built(request, token, departure) as response:
                return Answer(response.status, _wait_in(response), await self._body(response))
        except RequestTimeoutError:
            return NoAnswer("no answer in time", doubt=True)
        except RequestError as error:
            causes = _causes(error)
            reason = self._redact(explain_put(causes, self._route))[:200]
            if _NOT_CONNECTED in causes:
                return NoAnswer(f"no connection ({reason})", doubt=False)
            return NoAnswer(f"the connection broke ({reason})", doubt=True)

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.close()

    def _built(self, request: Request, token: Token, departure: Departure) -> StreamRequest:
        builder = self._client.put(f"{self._base}/{request.path}").headers(self._headers_of(token))
        builder = builder.streamed_read_buffer_limit(0)  # the status counts, whatever follows
        if not self._tells_departures:
            return builder.body_bytes(request.body).build_streamed()
        # A body is asked for once its connection is there, and goes out at once.
        length = str(len(request.body))
        body = _departing(request.body, departure)
        return builder.header("Content-Length", length).body_stream(body).build_streamed()

    async def _body(self, response: Response) -> bytes:
        # 2xx speaks by its status alone; the body is read so that the connection can be kept.
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


async def _departing(body: bytes, departure: Departure) -> AsyncIterator[bytes]:
    departure.went_out()
    yield body


def _wait_in(response: Response) -> str | None:
    try:
        return response.get_header("Retry-After")
    except ValueError:
        return None  # bytes that are no text


async def _first(response: Response, limit: int) -> bytes:
    """At most `limit` bytes of a body; a body that breaks off has said what it had said."""
    chunks: list[bytes] = []
    try:
        while limit > 0 and (chunk := await response.body_reader.read_chunk()) is not None:
            chunks.append(bytes(chunk[:limit]))
            limit -= len(chunk)
    except RequestError:
        pass
    return b"".join(chunks)


def _causes(error: DetailedPyreqwestError) -> list[str]:
    """What the library says, the outermost first."""
    return [cause["message"] for cause in error.details["causes"] or ()] or [error.message]


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
