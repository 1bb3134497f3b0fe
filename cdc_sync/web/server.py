"""An ASGI application served from a thread of its own, for as long as a `with` lasts."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cdc_sync.errors import CdcSyncError, UserMistake

KEEP_ALIVE = 75  # seconds, nginx's own; uvicorn's 5 would close pooled connections under a client
GRACE = 1  # seconds that open requests are given at the end
START_WITHIN = 10.0  # seconds
STOP_WITHIN = 5.0  # seconds; what is left then dies with the process, for the thread is a daemon's
BACKLOG = 512
MOST_CONNECTIONS = 400  # with delivery's own far below the 1024 files that a shell grants a process
SENDS_WITHIN = 15.0  # seconds for a whole request, from its connection or its first byte


@contextmanager
def serving(app: Any, host: str, port: int) -> Iterator[str]:
    """Serves `app` on host and port (0: any free one), and yields its base URL.

    Each request's `scope["state"]["transport"]` is its connection's asyncio transport.
    Raises UserMistake when the address cannot be had.
    """
    listener = _listen(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            # A header must not make a stranger look like a visitor from loopback.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
    )
    thread = threading.Thread(target=server.serve_on, args=(listener,), name="web", daemon=True)
    thread.start()
    try:
        if not server.startup_ended.wait(START_WITHIN) or not server.started:
            raise CdcSyncError(f"The web server on {_format_address(host, port)} did not start.")
        yield f"http://{_format_address(host, listener.getsockname()[1])}"
    finally:
        server.should_exit = True
        thread.join(STOP_WITHIN)
        listener.close()


class _Server(uvicorn.Server):
    """A uvicorn server that tells another thread when its start has ended, well or not."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.startup_ended = threading.Event()

    def serve_on(self, listener: socket.socket) -> None:
        # An application that cannot start makes uvicorn exit; here that would be its thread.
        with suppress(SystemExit):
            self.run([listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.startup_ended.set()


class _Connection(H11Protocol):
    """A connection that nobody can leave open half-used, so that files remain for delivery.

    Its requests can reach its transport: ASGI has no word for dropping one.
    """

    idle_since: float
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self.idle_since = time.monotonic()
        self._start_deadline()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.is_idle and not self.cycle.more_body:
            self._cancel_deadline()
        elif self._deadline is None:
            self._start_deadline()

    def on_response_complete(self) -> None:
        self.idle_since = time.monotonic()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(SENDS_WITHIN, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _make_room(self) -> None:
        """Ends the connection that has been idle the longest: the new one takes its place."""
        others = (one for one in self.connections if isinstance(one, _Connection))
        idle = [one for one in others if one.is_idle and not one.transport.is_closing()]
        min(idle, key=lambda one: one.idle_since).transport.abort()

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, proto, _, address = found[0]
        # The protocol is named (socket.create_server leaves it at 0) because asyncio switches Nagle
        # off only where it reads TCP; with it on, every small answer costs 40 ms.
        listener = socket.socket(family, kind, proto)
        with ExitStack() as on_failure:
            on_failure.callback(listener.close)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            on_failure.pop_all()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserMistake(
            f"Cannot listen on {_format_address(host, port)}: {reason}.",
            hint="Choose an address of this machine and a free port (port 0 picks one).",
        ) from error
    return listener


def _format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
