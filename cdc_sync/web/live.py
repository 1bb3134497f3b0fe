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
        events = self._events(partial(self._stamp, view))
        if self._viewers >= MOST_VIEWERS:
            # As an event, for a browser's script learns nothing of a status that refuses it.
            events = _refuse()
        elif view == "overview":
            regions = partial(self._overview.regions, window, may_act=visitor.may_act)
            events = self._events(regions, at_start=True)
        return StreamingResponse(events, media_type="text/event-stream")

    async def _events(
        self, look: Callable[[], dict[str, str]], *, at_start: bool = False
    ) -> AsyncIterator[str]:
        """Yields what changes; with `at_start` first all that there is."""
        self._viewers += 1
        try:
            yield RETRY
            seen: dict[str, str] | None = None
            silent = 0.0
            while True:
                now = await self._read(look) or seen or {}
                changed = {
                    name: text for name, text in now.items() if (seen or {}).get(name) != text
                }
                if changed and (seen is not None or at_start):
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

    async def _read(self, look: Callable[[], dict[str, str]]) -> dict[str, str] | None:
        try:
            return await to_thread.run_sync(look, limiter=self._limiter)
        except StateUnavailable:
            return None  # what was seen last stays

    def _stamp(self, view: str | None) -> dict[str, str]:
        """Returns what differs whenever a page other than the overview would."""
        document = self._context.snapshots.latest()
        facts: dict[str, Any] = {name: document[name] for name in _CHANGING}
        mark = document["watermark"]
        # It moves with every poll: that is news on its own page alone.
        facts["watermark"] = mark if view == "watermark" else mark["version"]
        facts["log"] = self._context.recent.count
        text = json.dumps(facts, sort_keys=True, default=str)
        return {"page": hashlib.sha256(text.encode()).hexdigest()[:16]}


async def _refuse() -> AsyncIterator[str]:
    yield f"event: full\ndata: {MOST_VIEWERS}\n\n"
