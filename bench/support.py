"""What the timings share: a lean stand-in for the API, a PostgreSQL with contracts, a sync."""

import asyncio
import json
import multiprocessing
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from cdc_sync.config.load import load_config
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.servers import postgresql_database, postgresql_server

TOKEN = b'{"access_token":"bench-token","token_type":"Bearer","expires_in":3600}'


class _Lean(asyncio.Protocol):
    """Answers a PUT with 201 after a latency, a POST with a token, a GET with when PUTs came."""

    latency = 0.0
    came: ClassVar[list[float]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = (
                int(head[at + 15 : (head.find(b"\r\n", at) + 1 or len(head) + 1) - 1])
                if at >= 0
                else 0
            )
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if head.startswith(b"put"):
                self.came.append(time.monotonic())
                self._answer(b"201 Created", b"{}")
            elif head.startswith(b"post"):
                self._answer(b"200 OK", TOKEN)
            else:
                self._answer(b"200 OK", json.dumps(self.came).encode())

    def _answer(self, status: bytes, body: bytes) -> None:
        answer = (
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self.transport.write, answer)
        else:
            self.transport.write(answer)


def _serve(latency: float, port: Any) -> None:
    async def main() -> None:
        _Lean.latency = latency
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Lean, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await asyncio.sleep(600)  # bounded, whoever forgets it

    asyncio.run(main())


@contextmanager
def lean_server(latency: float) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(latency, theirs))
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def came(api: str) -> list[float]:
    """When each PUT came to a lean server, in its seconds."""
    with urllib.request.urlopen(f"{api}/came") as answer:
        times: list[float] = json.load(answer)
        return times


@contextmanager
def source_with(rows: int) -> Iterator[str]:
    """The URL of a PostgreSQL with so many contracts, a year old."""
    with postgresql_server() as server:
        url = postgresql_database(server)
        with psycopg.connect(url.replace("+psycopg", "")) as source:
            source.execute(
                "CREATE TABLE contracts (id int PRIMARY KEY, account_name text, start_date date,"
                " end_date date, plan text, updated_at timestamptz)"
            )
            source.execute(
                "INSERT INTO contracts SELECT i, 'Account ' || i, '2024-01-01', '2027-12-31',"
                " 'Enterprise, 250 seats', now() - interval '1 year' FROM generate_series(1, %s) i",
                [rows],
            )
            source.execute("CREATE INDEX ON contracts (updated_at, id)")
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as source:
            source.execute("VACUUM ANALYZE contracts")
        yield url


@contextmanager
def syncing(source_url: str, api: str, **sections: dict[str, Any]) -> Iterator[Sync]:
    with tempfile.TemporaryDirectory(prefix="cdc-sync-bench-") as folder:
        file = write_config(Path(folder) / "config.yaml", source_url, api, **sections)
        config = load_config(file, os.environ)
        with open_sync(config, redaction_of(config)) as sync:
            yield sync


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(**figures: object) -> None:
    print(json.dumps(figures))
