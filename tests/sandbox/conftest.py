from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from cdc_sync.sandbox.app import sandbox_app
from cdc_sync.sandbox.ledger import Ledger
from cdc_sync.web.server import serving

VALID = {"reference": "erp-1", "account": "ACME", "start": "2026-01-31"}
TIMEOUT = 20


class Sandbox:
    """A sandbox being served, and a caller with a token."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.url = url
        self.ledger = ledger
        self.headers = {"Accept": "application/json"}

    def ask_token(self, **form: str) -> requests.Response:
        asked = {
            "grant_type": "client_credentials",
            "client_id": "sandbox",
            "client_secret": "sandbox",
        }
        url = f"{self.url}/oauth2/token"
        return requests.post(url, data=asked | form, timeout=TIMEOUT)

    def log_in(self) -> None:
        token = self.ask_token().json().get("access_token")
        self.headers["Authorization"] = f"Bearer {token}"

    def put(self, path: str = "contracts", **fields: Any) -> requests.Response:
        return self.send(path, json=VALID | fields)

    def send(self, path: str, headers: dict[str, str] | None = None, **how: Any):
        return requests.put(
            f"{self.url}/{path}",
            headers=self.headers | (headers or {}),
            timeout=TIMEOUT,
            allow_redirects=False,
            **how,
        )

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}/{path}", timeout=TIMEOUT)

    def press(self, path: str, **form: str) -> requests.Response:
        """A button of the page."""
        return requests.post(f"{self.url}/{path}", data=form, timeout=TIMEOUT)

    def set_faults(self, *faults: Any) -> requests.Response:
        return requests.post(f"{self.url}/faults", json=list(faults), timeout=TIMEOUT)


@contextmanager
def sandbox_with(**options: Any) -> Iterator[Sandbox]:
    ledger = Ledger()
    with serving(sandbox_app(ledger, **options), "127.0.0.1", 0) as url:
        sandbox = Sandbox(url, ledger)
        sandbox.log_in()
        yield sandbox


@pytest.fixture(scope="session")
def options():
    return sandbox_with


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_with() as served:
        yield served
