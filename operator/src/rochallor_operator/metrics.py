"""The operator's Prometheus metrics."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Verdict = tuple[str, str, str]
"""Type, status and reason of a condition."""

RECONCILES: Final = Counter(
    "rochallor_operator_reconciles", "Reconciles by result: settled, unsettled, refused or failed.", ["result"]
)
RECONCILE_SECONDS: Final = Histogram("rochallor_operator_reconcile_seconds", "How long one reconcile took.")
QUEUE_DEPTH: Final = Gauge("rochallor_operator_queue_depth", "Resources that wait to be reconciled.")
API_CALLS: Final = Counter(
    "rochallor_operator_api_calls",
    "Requests to the API server by verb and kind; watches are not in it.",
    ["verb", "kind"],
)
WATCH_AGE: Final = Gauge(
    "rochallor_operator_watch_age_seconds",
    "Time since the watch last brought back a change of the operator's own ConfigMap, or since watching began.",
)
LEADER: Final = Gauge("rochallor_operator_leader", "1 while this operator works, 0 while it stands by.")
RESOURCE_LABELS: Final = ("condition", "status", "reason")


class Resources(Collector):
    """Counts the known resources by their conditions when it is asked."""

    def __init__(self, conditions: Callable[[], Iterable[Iterable[Verdict]]]) -> None:
        self._conditions = conditions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The counts as they are now."""
        family = GaugeMetricFamily(
            "rochallor_operator_resources",
            "Resources by the status and reason of each condition.",
            labels=RESOURCE_LABELS,
        )
        tally = Tally(verdict for verdicts in self._conditions() for verdict in verdicts)
        for labels, count in sorted(tally.items()):
            family.add_metric(labels, count)
        yield family
