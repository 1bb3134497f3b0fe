"""Charts as SVG, made here: no script draws them, and they are read without one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc_sync.measures import Point
from cdc_sync.web.words import duration

WIDTH, HEIGHT = 720, 120
HEADROOM = 1.05
FEWEST = 20  # points of a chart
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line of a chart: its name, the class that colours it, its path and its latest value."""

    name: str
    style: str
    path: str
    latest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready for its template; `summary` says what it shows."""

    key: str
    title: str
    lines: tuple[Drawn, ...]
    top: str
    middle: str
    begins: datetime
    summary: str


def charts_of(points: Sequence[Point], window: str) -> list[Chart]:
    """Throughput, how long PUTs take, how long changes take, and the lag, of the last window.

    Where the process is younger they begin with it, for a line at the very edge says nothing.
    """
    points = _since_something(points)
    times = [point.at for point in points]
    return [
        _chart(
            "throughput",
            "PUTs a second",
            [
                ("accepted", "good", [point.rate for point in points]),
                ("failed", "bad", [point.failing for point in points]),
            ],
            (times[0], window, _rate),
        ),
        _chart(
            "put",
            "How long a PUT takes",
            _spread([p.put for p in points]),
            (times[0], window, duration),
        ),
        _chart(
            "arrival",
            "From change found to acknowledged",
            _spread([point.arrival for point in points]),
            (times[0], window, duration),
        ),
        _chart(
            "lag",
            "Behind the source's clock",
            [("greatest", "first", [point.lag for point in points])],
            (times[0], window, duration),
        ),
    ]


def _since_something(points: Sequence[Point]) -> Sequence[Point]:
    first = next((at for at, point in enumerate(points) if not _is_empty(point)), len(points))
    return points[max(0, min(first - 1, len(points) - FEWEST)) :]


def _is_empty(point: Point) -> bool:
    return point.put is None and point.lag is None


def _spread(pairs: Sequence[tuple[float, float] | None]) -> list[tuple[str, str, Values]]:
    return [
        ("p50", "first", [pair and pair[0] for pair in pairs]),
        ("p95", "second", [pair and pair[1] for pair in pairs]),
    ]


def _chart(
    key: str,
    title: str,
    lines: list[tuple[str, str, Values]],
    about: tuple[datetime, str, Callable[[float | None], str]],
) -> Chart:
    begins, window, written = about
    greatest = max((v for _, _, values in lines for v in values if v is not None), default=0.0)
    top = rounded_up(greatest * HEADROOM)
    drawn = tuple(
        Drawn(name, style, path_of(values, top), written(_latest(values)))
        for name, style, values in lines
    )
    latest = ", ".join(f"{line.name} {line.latest}" for line in drawn)
    summary = f"{title}, last {window}: latest {latest}; highest {written(greatest)}"
    return Chart(key, title, drawn, written(top), written(top / 2), begins, summary)


def rounded_up(greatest: float) -> float:
    """A round number that the greatest value stays below."""
    if greatest <= 0:
        return 1.0
    decade = 1.0
    while decade > greatest:
        decade /= 10
    while decade * 10 <= greatest:
        decade *= 10
    return next(decade * step for step in _STEPS if decade * step >= greatest * 0.999)


def path_of(values: Values, top: float) -> str:
    """The path of a line; it has a gap where there is no value."""
    step, parts, is_open = WIDTH / max(1, len(values) - 1), [], False
    for index, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        x, y = index * step, HEIGHT - 1 - value / top * (HEIGHT - 2)
        parts.append(f"{'L' if is_open else 'M'}{x:.0f} {y:.1f}")
        is_last = index + 1 == len(values)
        if not is_open and (is_last or values[index + 1] is None):
            # A value alone is to be seen, too.
            parts.append(f"h{-step if is_last else step:.0f}")
        is_open = True
    return "".join(parts)


def _latest(values: Values) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _rate(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.2g}"
