"""One PUT over a real socket, and everything that a server can do to it."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from cdc_sync import __version__
from cdc_sync.customergauge.client import BODY_READ, Client, Departure, Request, Window
from cdc_sync.customergauge.token import Token
from cdc_sync.log import Redaction
from cdc_sync.rules.verdict import Answer, NoAnswer

TOKEN = Token("the-access-token", datetime.now(UTC) + timedelta(hours=1))
PUT = Request("contracts", b'{"reference":"erp-1"}')
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HUNDRED_MB = 100_000_000


def departure() -> Departure:
    return Window(time.monotonic).start()


def talk(config: Any, scenario: Callable[[Client], Any]) -> Any:
    """What a scenario gives, within a time that no deadline of a test comes near."""

    async def bounded() -> Any:
        client = Client(config, Redaction([]))
        try:
            return await asyncio.wait_for(scenario(client), 15)
        finally:
            await client.close()

    return asyncio.run(bounded())


def put_once(config: Any) -> Answer | NoAnswer:
    return talk(config, lambda client: client.put(PUT, TOKEN, departure()))


def connections_to(server: Any) -> list[Any]:
    """Ours that are still open."""
    ours = psutil.Process().net_connections("tcp")
    return [one for one in ours if one.raddr and server.url.endswith(f":{one.raddr.port}")]


def waits_after_a_put(config: Any) -> float:
    """How long the next one would have to wait, where one a second may go out."""
    window = Window(lambda: 0.0)

    async def scenario(client: Client) -> None:
        one = window.start()
        await client.put(PUT, TOKEN, one)
        one.is_over()

    talk(config, scenario)
    return window.full_for(1, 1.0)


def test_with_a_rate_to_keep_it_is_told_when_a_put_goes_out(raw, pointed_at):
    assert waits_after_a_put(pointed_at(raw(OK).url, rate_limit="20/s")) == 1.0


def test_a_put_that_never_went_out_makes_nobody_wait(pointed_at):
    assert waits_after_a_put(pointed_at("http://127.0.0.1:9", rate_limit="20/s")) == 0.0


def test_a_put_says_who_we_are_and_what_we_send(raw, pointed_at):
    server = raw(OK)
    assert put_once(pointed_at(f"{server.url}/v1")) == Answer(200, None, b"{}")

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /v1/contracts HTTP/1.1"
    assert {
        "Authorization: Bearer the-access-token",
        "Content-Type: application/json",
        "Accept: application/json",
        f"User-Agent: cdc-sync/{__version__}",
    } <= set(lines)
    assert body == PUT.body


def test_a_put_whose_kept_connection_dies_is_not_repeated_by_itself(raw, pointed_at):
    def answer_only_the_first(_raw, to, number):
        return number == 1 and to.sendall(OK) is None

    async def twice(client):
        return [
            await client.put(PUT, TOKEN, departure()),
            await client.put(PUT, TOKEN, departure()),
        ]

    server = raw(answer_only_the_first)
    first, second = talk(pointed_at(server.url), twice)

    assert isinstance(first, Answer)
    assert isinstance(second, NoAnswer)
    assert second.doubt
    assert len(server.requests) == 2


def test_an_idle_connection_that_the_server_closed_is_no_error(raw, pointed_at):
    async def twice(client):
        first = await client.put(PUT, TOKEN, departure())
        while connections_to(server):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return [first, await client.put(PUT, TOKEN, departure())]

    server = raw(lambda _raw, to, _n: to.sendall(OK) is not None)  # answers, and hangs up
    assert talk(pointed_at(server.url), twice) == [Answer(200, None, b"{}")] * 2
    assert len(server.requests) == 2


def test_a_trickled_header_ends_at_the_deadline_of_the_whole_request(raw, pointed_at):
    server = raw(lambda raw, to, _n: raw.trickle(to, b"HTTP/1.1 200 OK\r\nX: "))

    assert put_once(pointed_at(server.url, timeout="1s")) == NoAnswer("no answer in time", True)
    assert len(server.requests) == 1


def test_a_trickled_body_ends_at_the_deadline_and_the_status_counts(raw, pointed_at):
    head = b"HTTP/1.1 422 No\r\nContent-Length: 100000\r\n\r\n"
    server = raw(lambda raw, to, _n: raw.trickle(to, head))
    reply = put_once(pointed_at(server.url, timeout="1s"))

    assert isinstance(reply, Answer)
    assert (reply.status, set(reply.body)) == (422, {ord("a")})


def test_a_connection_that_is_never_made_ends_at_the_deadline(pointed_at):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # TLS waits for its first word
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert put_once(pointed_at(url, timeout="1s")).why == "no answer in time"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_never_followed(raw, pointed_at, status):
    elsewhere = raw(OK)
    moved = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/\r\nContent-Length: 0\r\n\r\n"
    server = raw(moved.encode())

    assert put_once(pointed_at(server.url)) == Answer(status, None, b"")
    assert (len(server.requests), elsewhere.requests) == (1, [])


@pytest.mark.parametrize("length", [f"Content-Length: {HUNDRED_MB}", "Connection: close"])
@pytest.mark.parametrize("status", [200, 422])
def test_of_a_body_of_100_mb_only_the_first_bytes_are_read(raw, pointed_at, status, length):
    sent, ended = [], threading.Event()

    def pour(_raw, to, _n):
        to.sendall(f"HTTP/1.1 {status} X\r\n{length}\r\n\r\n".encode())
        try:
            while sum(sent) < HUNDRED_MB:
                sent.append(to.send(b"a" * 65536))
        finally:
            ended.set()
        return False

    server = raw(pour)
    reply = put_once(pointed_at(server.url))

    assert (reply.status, len(reply.body)) == (status, BODY_READ)
    assert ended.wait(10)
    assert sum(sent) < HUNDRED_MB / 4  # what fits between the two sockets


def test_after_a_body_too_long_the_next_put_has_its_own_answer(raw, pointed_at):
    long = f"HTTP/1.1 422 No\r\nContent-Length: {2 * BODY_READ}\r\n\r\n".encode()
    server = raw(lambda _raw, to, n: to.sendall(OK if n > 1 else long + b"a" * 2 * BODY_READ) is None)  # fmt: skip

    async def twice(client):
        return [
            (await client.put(PUT, TOKEN, departure())).status,
            (await client.put(PUT, TOKEN, departure())).status,
        ]

    assert talk(pointed_at(server.url), twice) == [422, 200]


def test_a_refused_connection_leaves_no_doubt(pointed_at):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    reply = put_once(pointed_at(f"http://127.0.0.1:{port}"))

    assert isinstance(reply, NoAnswer)
    assert not reply.doubt
    assert reply.why.startswith("no connection")


def test_a_reset_after_the_request_leaves_doubt(raw, pointed_at, reset):
    server = raw(lambda _raw, to, _n: reset(to) is not None)
    reply = put_once(pointed_at(server.url))

    assert isinstance(reply, NoAnswer)
    assert reply.doubt
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200", b"\0" * 100])
def test_what_is_no_http_is_no_answer_and_leaves_doubt(raw, pointed_at, answer):
    server = raw(lambda _raw, to, _n: to.sendall(answer) is not None)
    reply = put_once(pointed_at(server.url))

    assert isinstance(reply, NoAnswer)
    assert reply.doubt


def test_an_answer_that_says_our_token_back_is_masked(raw, pointed_at):
    body = json.dumps({"message": "Bearer the-access-token: the-access-token is wrong"}).encode()
    server = raw(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    assert b"the-access-token" not in put_once(pointed_at(server.url)).body


def test_a_wait_that_is_asked_for_is_handed_on(raw, pointed_at):
    server = raw(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
    assert put_once(pointed_at(server.url)) == Answer(429, "7", b"")


def test_a_wait_that_is_no_text_counts_as_none(raw, pointed_at):
    server = raw(b"HTTP/1.1 429 Slow\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n")
    assert put_once(pointed_at(server.url)) == Answer(429, None, b"")
