"""How many pods there are and who looks at them, as values of the spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rochallor_operator.connection import SecretKey
from rochallor_operator.names import Manifest
from rochallor_operator.part import Duration, Part


class Prometheus(Part):
    """The Prometheus that KEDA asks for the workers' metrics."""

    address: str


class Backlog(Part):
    """A query on the engine's database that KEDA scales on too; target is its value for each pod."""

    dsn_secret: SecretKey
    query: str
    target: int


class Autoscaling(Part):
    """The bounds and the measure of an autoscaler. target_utilization is the percentage of busy slots; with
    pod_deletion_cost busy pods go last."""

    min_replicas: int = 1
    max_replicas: int
    target_utilization: int = 70
    provider: Literal["hpa", "keda"] = "hpa"
    kafka_lag_threshold: int | None = None
    prometheus: Prometheus | None = None
    backlog: Backlog | None = None
    behavior: dict[str, Manifest] | None = None
    pod_deletion_cost: bool = False


class Metrics(Part):
    """A PodMonitor, with labels by which a Prometheus finds it."""

    pod_monitor: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    interval: Duration | None = None


class DisruptionBudget(Part):
    """How many pods a drain of nodes may stop at the same time: a number or a percentage."""

    max_unavailable: int | str
