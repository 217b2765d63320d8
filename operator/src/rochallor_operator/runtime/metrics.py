"""The operator's Prometheus metrics."""

from __future__ import annotations

import time
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rochallor_operator.backlog.jobs import Jobs


class Condition(NamedTuple):
    """A condition of a resource: its type, status and reason, and since when it has had that status (Unix time)."""

    kind: str
    status: str
    reason: str
    since: float


RECONCILES: Final = Counter(
    "rochallor_operator_reconciles", "Reconciles by result: settled, unsettled, refused or failed.", ["result"]
)
RECONCILE_SECONDS: Final = Histogram("rochallor_operator_reconcile_seconds", "Duration of a reconcile.")
QUEUE_DEPTH: Final = Gauge("rochallor_operator_queue_depth", "Resources waiting to be reconciled.")
API_CALLS: Final = Counter(
    "rochallor_operator_api_calls",
    "Requests to the API server by verb and kind, without watches.",
    ["verb", "kind"],
)
WATCH_AGE: Final = Gauge(
    "rochallor_operator_watch_age_seconds",
    "Time since the watch last delivered a change of the operator's own ConfigMap, or since watching began.",
)
WATCH_SILENCE: Final = Gauge(
    "rochallor_operator_watch_silence_seconds",
    "Secrets and ConfigMaps: time since the watch last delivered an event or a bookmark. Other kinds: time for which"
    " the watch has failed to deliver a change that the operator has read or made itself.",
    ["kind"],
)
LEADER: Final = Gauge("rochallor_operator_leader", "1 while this operator is active, 0 while it stands by.")
BACKLOG_READ_ERRORS: Final = Counter(
    "rochallor_operator_backlog_read_errors",
    "Reads of an engine's database that failed, by the reason of the condition BacklogServed.",
    ["reason"],
)
RESOURCE_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "rochallor_operator_resources": ("condition", "status", "reason"),
    "rochallor_operator_not_ready_seconds": ("reason",),
}
BACKLOG_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "rochallor_operator_backlog_jobs": ("namespace", "worker", "job_type", "state"),
    "rochallor_operator_backlog_age_seconds": ("namespace", "worker", "job_type"),
    "rochallor_operator_unserved_jobs": ("namespace", "worker", "job_type"),
}
MOST_UNSERVED: Final = 20
"""The most types that nobody serves, per resource: instances may make up types."""


class Backlog(NamedTuple):
    """The jobs in the engine's database of a resource."""

    namespace: str
    worker: str
    jobs: Mapping[str, Jobs]
    """Of each type that it lists."""
    unserved: Mapping[str, int]
    """Waiting jobs of the types that nobody lists."""


class Backlogs(Collector):
    """The jobs in the engines' databases; a series is absent while its number is not known."""

    def __init__(self, backlogs: Callable[[], Iterable[Backlog]]) -> None:
        self._backlogs = backlogs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The current numbers."""
        counts, ages, unserved = (GaugeMetricFamily(name, "", labels=labels) for name, labels in BACKLOG_LABELS.items())
        counts.documentation = (
            "Jobs in the engine's database, of the types that a resource lists, by state: waiting or running. In Kafka"
            " mode running jobs count as waiting. Absent while the database can't be read."
        )
        ages.documentation = (
            "Time since the oldest waiting job of a type was created, by the database's clock; 0 when none waits."
        )
        unserved.documentation = (
            "Jobs that have waited for a minute or more in a resource's database, of types that no resource lists; at"
            f" most {MOST_UNSERVED} types."
        )
        for backlog in self._backlogs():
            labels = (backlog.namespace, backlog.worker)
            for job_type, jobs in backlog.jobs.items():
                counts.add_metric([*labels, job_type, "waiting"], jobs.waiting)
                counts.add_metric([*labels, job_type, "running"], jobs.running)
                ages.add_metric([*labels, job_type], jobs.age)
            for job_type, waiting in list(backlog.unserved.items())[:MOST_UNSERVED]:
                unserved.add_metric([*labels, job_type], waiting)
        yield from (counts, ages, unserved)


class Resources(Collector):
    """Counts the known resources by their conditions at each scrape."""

    def __init__(
        self, conditions: Callable[[], Iterable[Iterable[Condition]]], clock: Callable[[], float] = time.time
    ) -> None:
        self._conditions = conditions
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The current counts."""
        counts, ages = (GaugeMetricFamily(name, "", labels=labels) for name, labels in RESOURCE_LABELS.items())
        counts.documentation = "Resources by the status and reason of each condition."
        ages.documentation = (
            "Time for which the longest unready resource has not been ready, by the reason of its condition Ready."
        )
        conditions = [condition for conditions in self._conditions() for condition in conditions]
        for labels, count in sorted(Tally(condition[:3] for condition in conditions).items()):
            counts.add_metric(labels, count)
        yield counts
        unready = [condition for condition in conditions if condition[:2] == ("Ready", "False")]
        oldest = {one.reason: one.since for one in sorted(unready, key=lambda one: one.since, reverse=True)}
        for reason, since in sorted(oldest.items()):
            ages.add_metric([reason], max(0.0, self._clock() - since))
        yield ages
