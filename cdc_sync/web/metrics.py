"""The metrics for Prometheus: what this process measured, and what the status document says."""

import platform
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc_sync import __version__
from cdc_sync.errors import StateUnavailable
from cdc_sync.measures import NAMESPACE
from cdc_sync.rules.verdict import ApiState
from cdc_sync.web.context import PageContext


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
        yield from self._context.measures.registry.collect()
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


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", description, value)


def _gauge_by(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{NAMESPACE}_{name}", description, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
