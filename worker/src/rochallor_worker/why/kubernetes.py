"""What `kubectl` answers, as facts. Pure. Fields that are not there have their defaults."""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from rochallor_worker.cli.parsing import parse_duration
from rochallor_worker.why.facts import DEFAULT_LEASE, Answer, Condition, Pod, Worker

POD_LABELS = "app.kubernetes.io/name=rochallor-worker,app.kubernetes.io/managed-by=rochallor-operator"
"""Selects the pods of all workers, those of their canaries included."""
WORKER_LABEL = "app.kubernetes.io/instance"
"""The label of such a pod with its worker's name."""
CONTAINER = "worker"

T = TypeVar("T")


class _Json(msgspec.Struct, rename="camel"):
    """A JSON object of Kubernetes; unknown fields are ignored."""


class Metadata(_Json):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    generation: int = 0


class _Engine(_Json):
    url: str = ""
    grpc_target: str = ""


class _Plan(_Json):
    strategy: str = "RollingUpdate"


class _Spec(_Json):
    job_types: list[str] = []
    engine: _Engine = msgspec.field(default_factory=_Engine)
    transport: str = "rest"
    lease: str = "30s"
    replicas: int = 1
    suspend: bool = False
    autoscaling: dict[str, object] | None = None
    rollout: _Plan = msgspec.field(default_factory=_Plan)


class Counts(_Json):
    """Jobs that pods have ended in a step of a canary rollout."""

    jobs: int = 0
    failures: int = 0
    slow: int = 0


class Rollout(_Json):
    """A canary rollout."""

    phase: str
    revision: str
    """The version on trial, or the last one that was."""
    stable_revision: str
    step: int = 1
    steps: int = 1
    share: str = ""
    message: str = ""
    canary: Counts = msgspec.field(default_factory=Counts)
    stable: Counts = msgspec.field(default_factory=Counts)


class _Status(_Json):
    observed_generation: int = 0
    ready_replicas: int = 0
    conditions: list[Condition] = []
    rollout: Rollout | None = None


class Resource(_Json):
    """A RochallorWorker."""

    metadata: Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    def __str__(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def is_observed(self) -> bool:
        """Whether the operator has seen the last change."""
        return self.status.observed_generation == self.metadata.generation


class _Ended(_Json):
    finished_at: datetime | None = None
    reason: str = ""


class _State(_Json):
    running: dict[str, object] | None = None
    terminated: _Ended | None = None


class _Container(_Json):
    name: str = ""
    state: _State = msgspec.field(default_factory=_State)
    last_state: _State = msgspec.field(default_factory=_State)


class _PodStatus(_Json):
    conditions: list[Condition] = []
    container_statuses: list[_Container] = []


class PodObject(_Json):
    """A pod."""

    metadata: Metadata
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    @property
    def worker(self) -> _Container:
        """Its container with the worker."""
        return next((one for one in self.status.container_statuses if one.name == CONTAINER), _Container())

    @property
    def runs(self) -> bool:
        """Whether there is a worker to ask."""
        return self.worker.state.running is not None


class Listing(_Json, Generic[T]):
    """What `kubectl get -o json` answers."""

    items: list[T] = []


def pod_of(pod: PodObject, answer: Answer | None) -> Pod:
    """Return a pod with what its worker has answered."""
    ready = any(one.type == "Ready" and one.holds for one in pod.status.conditions)
    last = pod.worker.last_state.terminated
    ended_at = last.finished_at if last is not None else None
    if ended_at is not None and ended_at.tzinfo is None:
        ended_at = None  # it can't be compared
    return Pod(pod.metadata.name, ready, answer, ended_at, last.reason if last is not None else "")


def worker_of(resource: Resource, pods: tuple[Pod, ...]) -> Worker:
    """Return a RochallorWorker with its pods."""
    spec, status = resource.spec, resource.status
    try:
        lease = float(str(parse_duration(spec.lease)))
    except ValueError:
        lease = DEFAULT_LEASE
    over_grpc = spec.transport == "grpc"
    return Worker(
        name=str(resource),
        job_types=tuple(spec.job_types),
        suspended=spec.suspend,
        observed=resource.is_observed,
        wanted=0 if spec.suspend else None if spec.autoscaling is not None else spec.replicas,
        ready=status.ready_replicas,
        engine=spec.engine.grpc_target if over_grpc else spec.engine.url,
        transport=spec.transport,
        lease=lease,
        conditions=tuple(status.conditions),
        pods=pods,
    )
