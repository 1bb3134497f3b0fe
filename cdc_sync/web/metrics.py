"""The metrics, in the text form of Prometheus: made from the status and what was measured."""

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
from cdc_sync.web.context import Desk

_PREFIX = "cdc_sync_"


class SyncCollector(Collector):
    """The metrics of one sync; without its state those of the process alone."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterable[Metric]:
        """Everything, as it is now."""
        yield _labelled(
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
        found, vitals = self._desk.measures.totals(), self._desk.vitals()
        yield _gauge(
            "last_poll_timestamp_seconds",
            "When a poll last ended well.",
            vitals.good_poll_at.timestamp(),
        )
        yield _counted("polls", "Polls, by how they ended.", "result", found.polls)
        yield _timed("poll_seconds", "How long polls took.", found.poll)
        yield _counter("source_rows_read", "Rows read from the source.", found.rows)
        yield _counter("unchanged_rows", "Rows read that differed in nothing.", found.unchanged)
        yield _counter(
            "reconcile_found_missed",
            "Changes that a reconcile found and polls should have seen.",
            found.missed,
        )
        yield _counted("puts", "PUTs, by the status of their answer.", "code", found.puts)
        yield _timed("put_seconds", "How long PUTs took.", found.put)
        yield _timed(
            "change_to_ack_seconds",
            "From the poll that found a change to its acknowledgement.",
            found.arrival,
        )
        yield _counted("token_requests", "Requests for a token.", "result", found.tokens)

    def _of_state(self) -> Iterator[Metric]:
        document = self._desk.snapshots.latest()
        statuses, mark = document["contracts"], document["watermark"]
        yield _labelled(
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
        yield _labelled("api_state", "How CustomerGauge treats us.", ("state",), states)
        yield _gauge("paused", "1: a person has paused delivery.", int(document["paused"]))


def registry_of(desk: Desk) -> CollectorRegistry:
    """A registry of its own, so that two syncs in one process stay apart."""
    registry = CollectorRegistry()
    registry.register(SyncCollector(desk))
    return registry


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, about, value=value)


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, about, value=value)


def _labelled(
    name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], int]]
) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, about, labels=labels)
    for given, value in values:
        family.add_metric(given, value)
    return family


def _counted(name: str, about: str, label: str, values: Counter[str]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, about, labels=(label,))
    for given, value in sorted(values.items()):
        family.add_metric((given,), value)
    return family


def _timed(name: str, about: str, values: Distribution) -> Metric:
    below = accumulate(values.bins[index] for index in range(len(BOUNDS)))
    buckets = [(str(bound), count) for bound, count in zip(BOUNDS, below, strict=True)]
    return HistogramMetricFamily(
        _PREFIX + name, about, [*buckets, ("+Inf", values.count)], values.seconds
    )
