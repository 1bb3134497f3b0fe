"""Connections that nobody uses take nothing from those that somebody does."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from starlette.responses import PlainTextResponse

from cdc_sync.web import server
from tests.support.wait import wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture
def place() -> Iterator[tuple[str, int]]:
    with server.serving(PlainTextResponse("answered"), "127.0.0.1", 0) as url:
        yield "127.0.0.1", int(url.rpartition(":")[2])


def is_ended(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def answer_of(connection: socket.socket) -> bytes:
    connection.settimeout(20)
    connection.sendall(REQUEST)
    return connection.recv(65536)


def test_a_request_is_answered_although_idle_clients_hold_every_connection(place, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    with ExitStack() as open_ones:
        idle = [open_ones.enter_context(socket.create_connection(place)) for _ in range(8)]
        wait_until(lambda: sum(map(is_ended, idle)) == 5, "the first five made room")
        asking = open_ones.enter_context(socket.create_connection(place))

        assert b"answered" in answer_of(asking)
        assert [is_ended(one) for one in idle] == [True] * 6 + [False] * 2


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: here\r\nX-",
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nx",
    ],
)
def test_an_incomplete_request_ends_its_connection(place, monkeypatch, begun):
    monkeypatch.setattr(server, "SENDS_WITHIN", 0.2)
    with socket.create_connection(place) as connection:
        connection.settimeout(20)
        connection.sendall(begun)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass


def test_an_incomplete_second_request_ends_its_connection(place, monkeypatch):
    monkeypatch.setattr(server, "SENDS_WITHIN", 0.2)
    with socket.create_connection(place) as connection:
        assert b"answered" in answer_of(connection)
        connection.sendall(b"GET / HT")

        wait_until(lambda: is_ended(connection), "it is ended")


def test_a_connection_is_kept_for_the_next_request(place):
    with socket.create_connection(place) as connection:
        assert b"answered" in answer_of(connection)
        assert b"answered" in answer_of(connection)
