import socket
import ssl

import pytest
import requests
from requests.exceptions import ConnectTimeout, ReadTimeout
from urllib3.exceptions import MaxRetryError, NewConnectionError

from cdc_sync.customergauge.unreached import unreached

pytestmark = pytest.mark.quick


def wrapped(cause: BaseException) -> requests.ConnectionError:
    """As the library hands it on: what happened is two exceptions down."""
    return requests.ConnectionError(MaxRetryError(None, "/", cause))


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (wrapped(socket.gaierror(-2, "Name or service not known")), "no such host"),
        (wrapped(ConnectionRefusedError(111, "refused")), "connection refused"),
        (wrapped(ConnectionResetError(104, "reset")), "the connection was cut"),
        (wrapped(OSError(101, "unreachable")), "no route to that network"),
        (wrapped(ssl.SSLError(1, "wrong version")), "TLS fails"),
        (wrapped(untrusted()), "its TLS certificate is not trusted: self-signed certificate"),
        (ConnectTimeout(), "no connection in time"),
        (ReadTimeout(), "no answer in time"),
        (requests.ConnectionError("Bad status line"), "the answer is not HTTP"),
    ],
)
def test_what_lies_at_the_bottom_is_told_in_words(error, why):
    found = unreached(error, "token_url")

    assert found.why == why
    assert found.hint.endswith(".")


def test_what_came_before_is_found_too():
    cause = NewConnectionError(None, "failed")
    cause.__context__ = ConnectionRefusedError(111, "refused")

    assert unreached(wrapped(cause), "base_url").why == "connection refused"
