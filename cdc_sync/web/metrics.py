"""The metrics for Prometheus: what this process measured, and what the status document says."""

import platform
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from cdc_sync import __version__
from cdc_sync.errors import StateUnavailable
from cdc_sync.measures import BOUNDS, Measures
from cdc_sync.rules.verdict import ApiState
from cdc_sync.web.context import PageContext

NAMESPACE = "cdc_sync"
# Those with a label are there for each of its values that was met.
_LABELLED = {
    "polls": ("result", "Polls, by how they ended."),
    "puts": ("code", "PUTs, by the status of their answer."),
    "token_requests": ("result", "Requests for a token."),
}
_COUNTED = {
    "source_rows_read": "Rows read from the source.",
    "unchanged_rows": "Rows read that differed in nothing.",
    "reconcile_found_missed": "Changes that a reconcile found and polls should have seen.",
    "late_changes": "Changes that a sweep found and polls had passed.",
}
_TIMED = {
    "poll_seconds": "How long polls took.",
    "put_seconds": "How long PUTs took.",
    "late_seconds": "How far changes that a sweep found were behind their stamps.",
    "change_to_ack_seconds": "From the poll that found a change to its acknowledgement.",
}


class SyncCollector(Collector):
    """The metrics of one sync; while its state is away those of the process alone."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        """Yields every metric as it is now."""
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily(f"{NAMESPACE}_build", "Which version runs.", build)
        yield _gauge(
            "last_poll_timestamp_seconds",
            "When a poll last ended well.",
            self._context.health().good_poll_at.timestamp(),
        )
        yield from collect_measures(self._context.measures)
        try:
            yield from self._collect_state()
        except StateUnavailable:
            return

    def _collect_state(self) -> Iterator[Metric]:
        document = self._context.snapshots.latest()
        statuses, mark = document["contracts"], document["watermark"]
        yield _gauge_by("contracts", "Contracts, by where they stand.", "status", statuses)
        yield _gauge("held_contracts", "Contracts that the guard holds.", statuses["held"])
        if mark["lag_seconds"] is not None:
            yield _gauge(
                "watermark_lag_seconds",
                "How far polls are behind the source's clock by now.",
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
        states = {str(state): int(document["api"]["state"] == state) for state in ApiState}
        yield _gauge_by("api_state", "How CustomerGauge treats us.", "state", states)
        yield _gauge("paused", "1: a person has paused delivery.", int(document["paused"]))


def collect_measures(measures: Measures) -> Iterator[Metric]:
    """Yields what this process has measured since its start."""
    for name, (label, description) in _LABELLED.items():
        family = CounterMetricFamily(f"{NAMESPACE}_{name}", description, labels=[label])
        for value, count in measures.count(name).items():
            family.add_metric([value], count)
        yield family
    for name, description in _COUNTED.items():
        count = measures.count(name).get("", 0)
        yield CounterMetricFamily(f"{NAMESPACE}_{name}", description, value=count)
    bounds = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
    for name, description in _TIMED.items():
        up_to, total = measures.times(name)
        buckets = list(zip(bounds, up_to, strict=True))
        yield HistogramMetricFamily(f"{NAMESPACE}_{name}", description, buckets, total)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", description, value)


def _gauge_by(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{NAMESPACE}_{name}", description, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
