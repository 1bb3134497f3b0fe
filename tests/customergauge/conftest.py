"""A server that answers byte for byte what a test says, and a configuration that points at it."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from cdc_sync.config.model import CustomerGaugeConfig

SECRET = "s3cret-of-the-client"


class Raw:
    """Reads whole requests; `answer` gets the socket and the number of the request.

    It returns whether the connection is kept.
    """

    def __init__(self, answer: Callable[["Raw", socket.socket, int], bool]) -> None:
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def trickle(self, connection: socket.socket, start: bytes) -> bool:
        """A byte now and then, for longer than any test waits."""
        connection.sendall(start)
        while not self.over.wait(0.1):
            connection.sendall(b"a")
        return False

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, suppress(OSError), connection.makefile("rb") as incoming:
            kept = True
            while kept and (request := _whole_request(incoming)):
                self.requests.append(request)
                kept = self._answer(self, connection, len(self.requests))


def _whole_request(incoming) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = incoming.readline()
        if not line:
            return b""
        head += line
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + incoming.read(int(length[0].partition(b":")[2]) if length else 0)


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    """Makes servers: of a function, or of the one answer that every request gets."""
    made: list[Raw] = []

    def make(answer: bytes | Callable[[Raw, socket.socket, int], bool]) -> Raw:
        given = answer if callable(answer) else lambda _raw, to, _n: to.sendall(answer) is None
        made.append(Raw(given))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def pointed_at() -> Callable[..., CustomerGaugeConfig]:
    """The smallest configuration for a server."""

    def config(url: str, **keys: object) -> CustomerGaugeConfig:
        given = {"base_url": url, "token_url": f"{url}/oauth2/token", "timeout": "5s"}
        known = {"client_id": "our-client", "client_secret": SECRET}
        return CustomerGaugeConfig.model_validate(given | known | keys)

    return config


@pytest.fixture
def reset() -> Callable[[socket.socket], None]:
    """Makes the close of a connection a reset."""

    def linger_not(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return linger_not
