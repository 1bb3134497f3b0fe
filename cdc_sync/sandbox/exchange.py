"""One request of the API taken in, and its answer sent, or mangled, or its connection dropped."""

import asyncio
import json
import socket
import struct
from asyncio import sleep
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

BODY_MAX = 1 << 20  # bytes; no documented body comes near it
HUGE = 32 << 20  # bytes
CHUNK = 1 << 16  # bytes
# SO_LINGER on, for zero seconds: closing then sends a reset rather than an orderly end.
RESET = struct.pack("ii", 1, 0)


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


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    headers: dict[bytes, bytes]
    raw: bytes | None  #: None: longer than the sandbox takes
    arrived: float  #: on the monotonic clock


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


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
