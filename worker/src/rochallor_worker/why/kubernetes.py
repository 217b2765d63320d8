"""What `kubectl` and workers answer, as facts. Pure. Fields that are not there have their defaults."""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from rochallor_worker.cli.parsing import parse_duration
from rochallor_worker.why.facts import DEFAULT_LEASE, Answer, Condition, JobState, Pod, TypeState, Worker

POD_LABELS = "app.kubernetes.io/name=rochallor-worker,app.kubernetes.io/managed-by=rochallor-operator"
"""Selects the pods of all workers, those of their canaries included."""
WORKER_LABEL = "app.kubernetes.io/instance"
"""The label of such a pod with its worker's name."""
CONTAINER = "worker"

T = TypeVar("T")


class _Json(msgspec.Struct, rename="camel"):
    """A JSON object of Kubernetes or of a worker; unknown fields are ignored."""


class Metadata(_Json):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}


class _Condition(_Json):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Engine(_Json):
    url: str = ""
    grpc_target: str = ""


class _Spec(_Json):
    job_types: list[str] = []
    engine: _Engine = msgspec.field(default_factory=_Engine)
    transport: str = "rest"
    lease: str = "30s"
    replicas: int = 1
    suspend: bool = False
    autoscaling: dict[str, object] | None = None


class _Status(_Json):
    ready_replicas: int = 0
    conditions: list[_Condition] = []


class Resource(_Json):
    """A RochallorWorker."""

    metadata: Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Ended(_Json):
    finished_at: datetime | None = None
    reason: str = ""


class _State(_Json):
    terminated: _Ended | None = None


class _Container(_Json):
    name: str = ""
    last_state: _State = msgspec.field(default_factory=_State)


class _PodStatus(_Json):
    phase: str = ""
    conditions: list[_Condition] = []
    container_statuses: list[_Container] = []


class PodObject(_Json):
    """A pod."""

    metadata: Metadata
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    @property
    def runs(self) -> bool:
        """Whether there may be a worker to ask."""
        return self.status.phase == "Running"


class Listing(_Json, Generic[T]):
    """What `kubectl get -o json` answers."""

    items: list[T] = []


class _Slots(_Json):
    total: int = 0
    busy: int = 0


class _Type(_Json):
    name: str
    running: int = 0
    parked: int = 0
    parallelism: int | None = None
    per_second: float | None = None
    breaker: str = "closed"
    reason: str = ""
    rate: float = 0.0


class _Job(_Json):
    instance: str
    type: str
    age: float = 0.0
    left: float | None = None
    parked: bool = False


class _Answer(_Json):
    worker: str = ""
    problem: str = ""
    transport: str = ""
    slots: _Slots = msgspec.field(default_factory=_Slots)
    types: list[_Type] = []
    jobs: list[_Job] = []
    kafka_lag: int = 0


def answer_of(content: bytes) -> Answer:
    """Return what a worker says at /status.json. Raises one of `UNREADABLE`."""
    said = msgspec.json.decode(content, type=_Answer)
    return Answer(
        worker_id=said.worker,
        problem=said.problem,
        slots=said.slots.total,
        busy=said.slots.busy,
        types=tuple((one.name, _type(one)) for one in said.types),
        jobs=tuple(JobState(one.instance, one.type, one.age, one.left, one.parked) for one in said.jobs),
        transport=said.transport,
        rate=sum(one.rate for one in said.types),
        lag=said.kafka_lag,
    )


def _type(said: _Type) -> TypeState:
    return TypeState(said.running, said.parked, said.parallelism, said.per_second, said.breaker, said.reason)


def pod_of(pod: PodObject, answer: Answer | None) -> Pod:
    """Return a pod with what its worker has answered."""
    ready = any((one.type, one.status) == ("Ready", "True") for one in pod.status.conditions)
    last = next((one.last_state.terminated for one in pod.status.container_statuses if one.name == CONTAINER), None)
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
        name=f"{resource.metadata.namespace}/{resource.metadata.name}",
        job_types=tuple(spec.job_types),
        suspended=spec.suspend,
        wanted=0 if spec.suspend else None if spec.autoscaling is not None else spec.replicas,
        ready=status.ready_replicas,
        engine=spec.engine.grpc_target if over_grpc else spec.engine.url,
        transport=spec.transport,
        lease=lease,
        conditions=tuple(
            Condition(one.type, one.status == "True", one.reason, one.message) for one in status.conditions
        ),
        pods=pods,
    )
