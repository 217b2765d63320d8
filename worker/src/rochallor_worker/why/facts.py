"""What can be known of an instance that does not move on. Times have a UTC offset; durations are in seconds."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

DEFAULT_LEASE = 30.0
"""The lease that a worker asks for unless its settings say more, and all that an engine grants that cannot renew."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that the instance is at."""

    id: str
    kind: str = ""
    """Such as SERVICE_TASK; empty if it is not known."""
    job_type: str = ""
    """The type of its jobs; empty if it has none, or that is not known."""
    status: str = "RUNNING"
    """Of its latest entry in the history."""
    since: datetime | None = None
    """When that entry began."""
    follows: bool = True
    """Whether another step follows; True if that is not known."""
    timers: tuple[str, ...] = ()
    """The durations of its timers, as the definition has them."""


class _Said(msgspec.Struct, frozen=True, rename="camel"):
    """Part of a JSON answer, field by field; others are ignored, and missing ones have their defaults."""


class TypeState(_Said, frozen=True):
    """What a worker says of one of its job types."""

    name: str
    running: int = 0
    parked: int = 0
    parallelism: int | None = None
    """The most of its jobs that may run here at once."""
    per_second: float | None = None
    breaker: str = "closed"
    """open, closed or off."""
    reason: str = ""
    """Why the breaker is open."""
    rate: float = 0.0
    """Jobs per second."""


class JobState(_Said, frozen=True):
    """A job that a worker has."""

    instance: str
    type: str
    age: float = 0.0
    """Since it was claimed."""
    left: float | None = None
    """Of its lease; None without one, as over Kafka."""
    parked: bool = False
    """Postponed: it waits in the worker, and holds no slot."""
    ended: bool = False
    """Its handler has ended, but the engine does not have the outcome yet."""


class Slots(_Said, frozen=True):
    """The slots of a worker."""

    total: int = 0
    busy: int = 0


class Answer(_Said, frozen=True):
    """What a worker says at /status.json."""

    worker: str = ""
    """Its id."""
    problem: str = ""
    """Why it takes no jobs, as `Reason: sentence`."""
    transport: str = ""
    slots: Slots = Slots()
    types: tuple[TypeState, ...] = ()
    jobs: tuple[JobState, ...] = ()
    kafka_lag: int = 0
    """Kafka records that are not processed."""

    def of(self, job_type: str) -> TypeState | None:
        """Return what it says of a job type; None if it does not take it."""
        return next((kind for kind in self.types if kind.name == job_type), None)

    def job_of(self, instance_id: str, job_type: str) -> JobState | None:
        """Return the instance's job of a type, if the worker has it."""
        mine = (job for job in self.jobs if (job.instance, job.type) == (instance_id, job_type))
        return next(mine, None)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a worker, or a worker outside Kubernetes."""

    name: str
    ready: bool = True
    answer: Answer | None = None
    """None if it did not answer."""
    ended_at: datetime | None = None
    """When its worker last ended, if it was started again."""
    ended_why: str = ""


class Condition(_Said, frozen=True):
    """A condition of a RochallorWorker or of a pod."""

    type: str = ""
    status: str = ""
    """True, False or Unknown."""
    reason: str = ""
    message: str = ""

    @property
    def holds(self) -> bool:
        return self.status == "True"


@dataclass(frozen=True, slots=True)
class Worker:
    """A RochallorWorker, or a worker outside Kubernetes, which has only pods."""

    name: str
    job_types: tuple[str, ...]
    suspended: bool = False
    observed: bool = True
    """Whether an operator has seen its last change."""
    wanted: int | None = None
    """How many pods it should have; None if an autoscaler decides."""
    ready: int = 0
    """How many are ready."""
    engine: str = ""
    """The address of the engine that it asks; empty if that is not known."""
    transport: str = "rest"
    lease: float = DEFAULT_LEASE
    conditions: tuple[Condition, ...] = ()
    pods: tuple[Pod, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """Return one of its conditions."""
        return next((one for one in self.conditions if one.type == kind), None)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about one instance. What could not be asked is named in `unknown`, with the reason."""

    now: datetime
    reference: str
    """What was asked for: an id or a business key."""
    instance_id: str = ""
    """Empty if there is no such instance, or the engine was not reached."""
    definition: str = ""
    status: str = ""
    failure: str = ""
    started_at: datetime | None = None
    failed_step: str = ""
    steps: tuple[Step, ...] = ()
    workers: tuple[Worker, ...] | None = None
    """All workers that are known, whatever they serve; None if nobody could be asked for them."""
    all_workers: bool = True
    """Whether there is no worker but these, as far as they could be asked for."""
    engine_problem: str = ""
    """Why the engine did not answer."""
    unknown: tuple[str, ...] = ()
