"""An application served from a thread of its own."""

import logging
import socket
import threading
from contextlib import asynccontextmanager

import pytest
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cdc_sync.errors import CdcSyncError, UserMistake
from cdc_sync.web.server import serving


async def hello(request):
    return PlainTextResponse("hello")


async def broken(request):
    raise ZeroDivisionError


def application(**options):
    return Starlette(routes=[Route("/", hello), Route("/broken", broken)], **options)


def test_an_application_is_served_on_a_free_port_and_gone_afterwards():
    with serving(application(), "127.0.0.1", 0) as url:
        assert requests.get(url, timeout=20).text == "hello"
        port = int(url.rpartition(":")[2])

    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(("127.0.0.1", port))
    assert "web" not in {thread.name for thread in threading.enumerate()}


def test_open_connections_do_not_delay_the_end():
    with requests.Session() as session, socket.socket() as silent:
        with serving(application(), "127.0.0.1", 0) as url:
            session.get(url, timeout=20)
            silent.connect(("127.0.0.1", int(url.rpartition(":")[2])))
            silent.sendall(b"GET / HTTP/1.1\r\n")

        assert "web" not in {thread.name for thread in threading.enumerate()}


def test_a_port_in_use_is_told_with_the_mend():
    with serving(application(), "127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(UserMistake) as told, serving(application(), "127.0.0.1", port):
            pass

    assert told.value.message == f"Cannot listen on 127.0.0.1:{port}: Address already in use."
    assert told.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "x" * 300])
def test_an_address_that_is_not_ours_is_told(host):
    with (
        pytest.raises(UserMistake, match=f"Cannot listen on {host}:8787"),
        serving(application(), host, 8787),
    ):
        pass


def test_a_port_is_free_again_at_once():
    with serving(application(), "127.0.0.1", 0) as url:
        requests.get(url, timeout=20)
    with serving(application(), "127.0.0.1", int(url.rpartition(":")[2])) as again:
        assert again == url


def test_an_application_that_cannot_start_is_told():
    async def lifespan(app):
        raise ZeroDivisionError
        yield

    app = application(lifespan=asynccontextmanager(lifespan))
    with pytest.raises(CdcSyncError, match="did not start"), serving(app, "127.0.0.1", 0):
        pass


def test_the_server_is_silent(caplog):
    with caplog.at_level(logging.DEBUG), serving(application(), "127.0.0.1", 0) as url:
        assert requests.get(f"{url}/broken", timeout=20).status_code == 500

    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_a_header_does_not_make_a_stranger_look_local():
    async def who(request):
        return PlainTextResponse(request.client.host)

    app = Starlette(routes=[Route("/", who)])
    with serving(app, "127.0.0.1", 0) as url:
        headers = {"X-Forwarded-For": "192.0.2.7"}
        assert requests.get(url, headers=headers, timeout=20).text == "127.0.0.1"
