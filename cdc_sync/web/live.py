"""Server-sent events: to the overview its changed regions, to other pages that there is news."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cdc_sync.errors import StateUnavailable
from cdc_sync.web.access import Visitor
from cdc_sync.web.context import PageContext
from cdc_sync.web.overview import Overview, selected_window

EVERY_SECONDS = 1.0
SILENT_SECONDS = 15  # a comment after so long keeps proxies and tunnels from closing it
MOST_VIEWERS = 100
EVENTS = "text/event-stream"
RETRY = "retry: 2000\n\n"

_CHANGING = ("contracts", "totals", "paused", "hold", "api", "last_reconcile", "balance")


class Live:
    """The streams of all viewers; what they are sent is made once for all of them."""

    def __init__(self, context: PageContext, overview: Overview, limiter: CapacityLimiter) -> None:
        self._context = context
        self._overview = overview
        self._limiter = limiter
        self._viewers = 0

    async def stream(self, request: Request) -> Response:
        """Returns a stream that lasts until its viewer goes."""
        visitor: Visitor = request.state.visitor
        query = request.query_params
        window, view = selected_window(query), query.get("view")
        if self._viewers >= MOST_VIEWERS:
            # As an event, for a browser's script learns nothing of a status that refuses it.
            return Response(f"event: full\ndata: {MOST_VIEWERS}\n\n", media_type=EVENTS)
        if view == "overview":
            read = partial(self._overview.regions, window, may_act=visitor.may_act)
        else:
            read = partial(self._fingerprint, view)
        events = self._events(read, starts_with_all=view == "overview")
        return StreamingResponse(events, media_type=EVENTS)

    async def _events(
        self, read: Callable[[], dict[str, str]], *, starts_with_all: bool
    ) -> AsyncIterator[str]:
        """Yields the texts that have changed, as they are read every second."""
        self._viewers += 1
        try:
            yield RETRY
            seen = {} if starts_with_all else await self._read(read)
            silent = 0.0
            while True:
                now = await self._read(read) or seen
                changed = {name: text for name, text in now.items() if seen.get(name) != text}
                if changed:
                    yield f"event: changed\ndata: {json.dumps(changed)}\n\n"
                    silent = 0.0
                elif silent >= SILENT_SECONDS:
                    yield ":\n\n"
                    silent = 0.0
                seen = now
                silent += EVERY_SECONDS
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            self._viewers -= 1

    async def _read(self, read: Callable[[], dict[str, str]]) -> dict[str, str]:
        try:
            return await to_thread.run_sync(read, limiter=self._limiter)
        except StateUnavailable:
            return {}  # what was seen last stays

    def _fingerprint(self, view: str | None) -> dict[str, str]:
        """Returns a hash that differs whenever a page other than the overview would."""
        document = self._context.snapshots.latest()
        facts: dict[str, Any] = {name: document[name] for name in _CHANGING}
        mark = document["watermark"]
        # It moves with every poll: that is news on its own page alone.
        facts["watermark"] = mark if view == "watermark" else mark["version"]
        facts["log"] = self._context.recent.count
        text = json.dumps(facts, sort_keys=True, default=str)
        return {"page": hashlib.sha256(text.encode()).hexdigest()[:16]}
