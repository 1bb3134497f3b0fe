"""The metrics for Prometheus, from the status document and what this process measured."""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from cdc_sync import __version__
from cdc_sync.errors import StateUnavailable
from cdc_sync.measures import BOUNDS, Distribution
from cdc_sync.rules.verdict import ApiState
from cdc_sync.web.context import PageContext

_PREFIX = "cdc_sync_"


def build_registry(context: PageContext) -> CollectorRegistry:
    """Returns a registry of its own, so that two syncs in one process stay apart."""
    registry = CollectorRegistry()
    registry.register(SyncCollector(context))
    return registry


class SyncCollector(Collector):
    """The metrics of one sync; while its state is away those of the process alone."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        """Yields every metric as it is now."""
        yield _gauge_by(
            "build_info",
            "Which version runs.",
            ("version", "python"),
            [((__version__, platform.python_version()), 1)],
        )
        yield from self._of_process()
        try:
            yield from self._of_state()
        except StateUnavailable:
            return

    def _of_process(self) -> Iterator[Metric]:
        totals, health = self._context.measures.totals(), self._context.health()
        yield _gauge(
            "last_poll_timestamp_seconds",
            "When a poll last ended well.",
            health.good_poll_at.timestamp(),
        )
        yield _counter_by("polls", "Polls, by how they ended.", "result", totals.polls)
        yield _histogram("poll_seconds", "How long polls took.", totals.poll)
        yield _counter("source_rows_read", "Rows read from the source.", totals.rows)
        yield _counter("unchanged_rows", "Rows read that differed in nothing.", totals.unchanged)
        yield _counter(
            "reconcile_found_missed",
            "Changes that a reconcile found and polls should have seen.",
            totals.missed,
        )
        yield _counter_by("puts", "PUTs, by the status of their answer.", "code", totals.puts)
        yield _histogram("put_seconds", "How long PUTs took.", totals.put)
        yield _histogram(
            "change_to_ack_seconds",
            "From the poll that found a change to its acknowledgement.",
            totals.arrival,
        )
        yield _counter_by("token_requests", "Requests for a token.", "result", totals.tokens)

    def _of_state(self) -> Iterator[Metric]:
        document = self._context.snapshots.latest()
        statuses, mark = document["contracts"], document["watermark"]
        yield _gauge_by(
            "contracts",
            "Contracts, by where they stand.",
            ("status",),
            [((name,), count) for name, count in statuses.items()],
        )
        yield _gauge("held_contracts", "Contracts that the guard holds.", statuses["held"])
        if mark["lag_seconds"] is not None:
            yield _gauge(
                "watermark_lag_seconds",
                "How far the polls are behind the source's clock.",
                mark["lag_seconds"],
            )
        yield _gauge(
            "horizon_in_force",
            "1: the source tells its horizon; 0: the lookback is in force.",
            int(mark["basis"] == "horizon"),
        )
        yield _gauge(
            "unexplained_rows",
            "Rows of the last full scan that no status accounts for.",
            (document["balance"] or {}).get("unexplained", 0),
        )
        states = [((str(state),), int(document["api"]["state"] == state)) for state in ApiState]
        yield _gauge_by("api_state", "How CustomerGauge treats us.", ("state",), states)
        yield _gauge("paused", "1: a person has paused delivery.", int(document["paused"]))


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, description, value=value)


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, description, value=value)


def _gauge_by(
    name: str, description: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], int]]
) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, description, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _counter_by(name: str, description: str, label: str, values: Counter[str]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, description, labels=(label,))
    for label_value, value in sorted(values.items()):
        family.add_metric((label_value,), value)
    return family


def _histogram(name: str, description: str, values: Distribution) -> Metric:
    below = accumulate(values.bins[index] for index in range(len(BOUNDS)))
    buckets = [(str(bound), count) for bound, count in zip(BOUNDS, below, strict=True)]
    return HistogramMetricFamily(
        _PREFIX + name, description, [*buckets, ("+Inf", values.count)], values.seconds
    )
