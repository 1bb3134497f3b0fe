"""A webhook over HTTP that remembers what it was told, and fails on demand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cdc_sync.web.server import serving

SECRET = "a-secret-path"


@dataclass(slots=True)
class Webhook:
    """A receiver of Apprise's json:// messages."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    tries: int = 0

    def says(self) -> list[str]:
        """The first line of each message, in order."""
        return [message["message"].splitlines()[0] for message in self.told]

    async def take(self, request: Request) -> Response:
        self.tries += 1
        if self.status == 200:
            self.told.append(await request.json())
        return Response(status_code=self.status)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    app = Starlette(routes=[Route(f"/{SECRET}", hook.take, methods=["POST"])])
    with serving(app, "127.0.0.1", 0) as url:
        hook.url = f"{url.replace('http://', 'json://')}/{SECRET}"
        yield hook
