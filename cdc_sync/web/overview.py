"""The overview: rendered as a page, and again as the regions of it that change."""

import os
import socket
import threading
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cdc_sync.operations.status import findings
from cdc_sync.web.access import Visitor
from cdc_sync.web.charts import Chart, charts_of
from cdc_sync.web.desk import Desk
from cdc_sync.web.render import TEMPLATES, page

TEMPLATE = "overview.html"
REGIONS = (
    "verdict",
    "statuses",
    "progress",
    "charts",
)  #: each by a template in the folder `overview`
WINDOWS = ("hour", "day")
#: where a person goes on from a trouble, by its key
_MENDED_AT = {
    "api": ("/log?level=warning", "see the log"),
    "poll": ("/runs", "see the runs"),
    "reconcile": ("/runs", "see the runs"),
    "rejected": ("/refusals", "see the reasons"),
    "waiting": ("/refusals", "see the accounts"),
    "held": ("/guard", "see what is held"),
    "unexplained": ("/runs", "see the scans"),
}
CHARTS_FRESH_SECONDS = 5.0
REGIONS_FRESH_SECONDS = 0.9


class Overview:
    """Renders once for all who look at the same time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._charts: dict[str, tuple[float, list[Chart]]] = {}
        self._regions: dict[tuple[str, bool, int], tuple[float, dict[str, str]]] = {}

    def answer(self, desk: Desk, request: Request) -> Response:
        """The page."""
        window = window_of(request)
        visitor: Visitor = request.scope["state"]["visitor"]
        shown = self._shown(desk.snapshots.recent(), window, may_act=visitor.may_act)
        return page(desk, request, TEMPLATE, shown)

    def regions(self, window: str, *, may_act: bool) -> dict[str, str]:
        """The regions by their names, as HTML, not older than a second."""
        with self._lock:
            asked = (window, may_act, self._desk.acts)
            made_at, regions = self._regions.get(asked, (0.0, {}))
            if time.monotonic() - made_at < REGIONS_FRESH_SECONDS:
                return regions
            document = self._desk.snapshots.latest()
            shown = self._shown(document, window, may_act=may_act)
            regions = {
                name: TEMPLATES.get_template(f"overview/{name}.html").render(shown)
                for name in REGIONS
            }
            self._regions = {key: kept for key, kept in self._regions.items() if key[2] == asked[2]}
            self._regions[asked] = (time.monotonic(), regions)
            return regions

    def _shown(self, document: dict[str, Any], window: str, *, may_act: bool) -> dict[str, Any]:
        return {
            "status": document,
            "wrong": [
                (found.says, *_MENDED_AT.get(found.key, ("", "")))
                for found in findings(document, self._desk.config)
            ],
            "began": self._desk.began,
            "us": f"{os.getpid()} on {socket.gethostname()}",
            "charts": self._charts_of(window),
            "window": window,
            "windows": WINDOWS,
            "may_act": may_act,
            "can_log_in": self._desk.config.web.token is not None,
        }

    def _charts_of(self, window: str) -> list[Chart]:
        made_at, charts = self._charts.get(window, (0.0, []))
        if not charts or time.monotonic() - made_at >= CHARTS_FRESH_SECONDS:
            charts = charts_of(self._desk.measures.points(window, self._desk.now()), window)
            self._charts[window] = (time.monotonic(), charts)
        return charts


def window_of(request: Request) -> str:
    """The window of the charts that is asked for."""
    asked = request.query_params.get("window")
    return asked if asked in WINDOWS else WINDOWS[0]
