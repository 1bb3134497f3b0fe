"""The overview: a page, and the regions of it that are sent again when they change."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import floor, log10
from typing import Any

from starlette.responses import Response

from cdc_sync.measures import Point
from cdc_sync.operations.status import find_troubles
from cdc_sync.web.context import PageContext, PageRequest
from cdc_sync.web.render import page, render
from cdc_sync.wording import format_seconds

REGIONS = ("verdict", "statuses", "progress", "charts")  # templates in the folder `overview`
WINDOWS = ("hour", "day")
CHARTS_FRESH_SECONDS = 5.0
REGIONS_FRESH_SECONDS = 0.9
WIDTH, HEIGHT = 720, 120
HEADROOM = 1.05
FEWEST = 20  # points of a chart
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line of a chart: its name, the class that colours it, its path and its latest value."""

    name: str
    style: str
    path: str
    latest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready for its template; `summary` says what it shows."""

    title: str
    lines: tuple[ChartLine, ...]
    top: str
    middle: str
    begins: datetime
    summary: str


class Overview:
    """The overview, rendered once for all who look at the same time."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._charts: dict[str, tuple[float, list[Chart]]] = {}
        self._regions: dict[tuple[str, bool, int], tuple[float, dict[str, str]]] = {}

    def page(self, request: PageRequest) -> Response:
        """Returns the whole page."""
        status, window = self._context.snapshots.recent(), selected_window(request.query)
        variables = self._variables(status, window, may_act=request.visitor.may_act)
        return page(request, "overview.html", **variables)

    def regions(self, window: str, *, may_act: bool) -> dict[str, str]:
        """Returns the regions by their names, as HTML, not older than a second."""
        with self._lock:
            asked = (window, may_act, self._context.actions)
            made_at, regions = self._regions.get(asked, (0.0, {}))
            if time.monotonic() - made_at < REGIONS_FRESH_SECONDS:
                return regions
            status = self._context.snapshots.latest()
            variables = self._variables(status, window, may_act=may_act)
            regions = {name: render(f"overview/{name}.html", variables) for name in REGIONS}
            self._regions = {key: kept for key, kept in self._regions.items() if key[2] == asked[2]}
            self._regions[asked] = (time.monotonic(), regions)
            return regions

    def _variables(self, status: dict[str, Any], window: str, *, may_act: bool) -> dict[str, Any]:
        return {
            "status": status,
            "troubles": list(find_troubles(status, self._context.config)),
            "began": self._context.began,
            "this_process": f"{os.getpid()} on {socket.gethostname()}",
            "charts": self._recent_charts(window),
            "window": window,
            "windows": WINDOWS,
            "may_act": may_act,
        }

    def _recent_charts(self, window: str) -> list[Chart]:
        made_at, charts = self._charts.get(window, (0.0, []))
        if not charts or time.monotonic() - made_at >= CHARTS_FRESH_SECONDS:
            points = self._context.measures.points(window, self._context.now())
            charts = build_charts(points, window)
            self._charts[window] = (time.monotonic(), charts)
        return charts


def selected_window(query: Mapping[str, str]) -> str:
    """Returns the window of the charts that a request asks for."""
    asked = query.get("window")
    return asked if asked in WINDOWS else WINDOWS[0]


def build_charts(points: Sequence[Point], window: str) -> list[Chart]:
    """Returns throughput, how long PUTs and changes take, and the lag, over the last window.

    Where the process is younger they begin with it, for a line at the very edge says nothing.
    """
    points = _without_lead(points)
    chart = partial(_chart, points[0].at, window)
    accepted = ("accepted", "good", [point.rate for point in points])
    failed = ("failed", "bad", [point.failing for point in points])
    lag = ("greatest", "first", [point.lag for point in points])
    return [
        chart("PUTs a second", _format_rate, [accepted, failed]),
        chart("How long a PUT takes", format_seconds, _spread([p.put for p in points])),
        chart(
            "From change found to acknowledged",
            format_seconds,
            _spread([point.time_to_ack for point in points]),
        ),
        chart("Behind the source's clock", format_seconds, [lag]),
    ]


def _without_lead(points: Sequence[Point]) -> Sequence[Point]:
    is_empty = [point.put is None and point.lag is None for point in points]
    first = is_empty.index(False) if False in is_empty else len(points)
    return points[max(0, min(first - 1, len(points) - FEWEST)) :]


def _spread(pairs: Sequence[tuple[float, float] | None]) -> list[tuple[str, str, Values]]:
    return [
        ("p50", "first", [pair and pair[0] for pair in pairs]),
        ("p95", "second", [pair and pair[1] for pair in pairs]),
    ]


def _chart(
    begins: datetime,
    window: str,
    title: str,
    format_value: Callable[[float | None], str],
    lines: Sequence[tuple[str, str, Values]],
) -> Chart:
    greatest = max((v for _, _, values in lines for v in values if v is not None), default=0.0)
    top = round_up(greatest * HEADROOM)
    drawn = tuple(
        ChartLine(name, style, line_path(values, top), format_value(_latest(values)))
        for name, style, values in lines
    )
    latest = ", ".join(f"{line.name} {line.latest}" for line in drawn)
    summary = f"{title}, last {window}: latest {latest}; highest {format_value(greatest)}"
    return Chart(title, drawn, format_value(top), format_value(top / 2), begins, summary)


def round_up(greatest: float) -> float:
    """Returns a round number that the greatest value stays below."""
    if greatest <= 0:
        return 1.0
    decade = 10.0 ** floor(log10(greatest))
    return next(decade * step for step in _STEPS if decade * step >= greatest * 0.999)


def line_path(values: Values, top: float) -> str:
    """Returns the SVG path of a line; it has a gap where there is no value."""
    step, parts, is_open = WIDTH / max(1, len(values) - 1), [], False
    for index, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        x, y = index * step, HEIGHT - 1 - value / top * (HEIGHT - 2)
        parts.append(f"{'L' if is_open else 'M'}{x:.0f} {y:.1f}")
        is_last = index + 1 == len(values)
        if not is_open and (is_last or values[index + 1] is None):
            # A single value would draw nothing.
            parts.append(f"h{-step if is_last else step:.0f}")
        is_open = True
    return "".join(parts)


def _latest(values: Values) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _format_rate(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.2g}"
