"""The dev engine's records. Times are epoch seconds.

Only `EngineState` changes them; tests of workers read them. They are hidden from the garbage collector: there may be
millions of them, and they form no cycles.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from rochallor_worker.devengine.definition import Definition

Generation = Literal["A", "fenced"]
"""Whose rules hold (engine.md: "Generations"). "fenced" is generation D, or C where leases cannot be renewed."""
DispatchMode = Literal["polling", "kafka_outbox"]
InstanceStatus = Literal["ACTIVE", "WAITING", "COMPLETED", "FAILED", "CANCELLED"]
JobStatus = Literal["UNLOCKED", "LOCKED", "COMPLETED", "FAILED", "CANCELLED"]
StepStatus = Literal["RUNNING", "COMPLETED", "FAILED"]
Kind = Literal["definition", "instance", "job", "timer", "chained", "dispatch"]

Changed = Callable[[Kind, str, Any], None]
"""Called with each record that is added or changed, by kind and id; with None for one that is removed."""


def unkept(_kind: Kind, _id: str, _record: Any) -> None:
    """Keep no record: a `Changed`."""


class StepExecution(msgspec.Struct, gc=False):
    """One entry into a step. Retries of its job belong to the same entry."""

    id: str
    instance_id: str
    step_id: str
    step_type: str
    attempt: int
    status: StepStatus
    started_at: float
    ended_at: float | None = None
    failure_reason: str | None = None


class Instance(msgspec.Struct, gc=False):
    """One run of a definition."""

    id: str
    definition: Definition
    status: InstanceStatus
    variables: dict[str, Any]
    started_at: float
    business_key: str | None = None
    current_step_ids: tuple[str, ...] = ()
    history: tuple[StepExecution, ...] = ()
    user_tasks: tuple[StepExecution, ...] = ()
    """The entries into user tasks that are not completed yet, including those that a timer interrupted."""
    completed_at: float | None = None
    failure_reason: str | None = None

    @property
    def live(self) -> bool:
        """Whether it can still move on."""
        return self.status in {"ACTIVE", "WAITING"}


class Job(msgspec.Struct, gc=False):
    """A job for a worker: one delivery attempt, or on generation A all attempts of a step execution."""

    id: str
    number: int
    """Position in the order of creation, from 0."""
    job_type: str
    instance: Instance
    execution: StepExecution
    retries_remaining: int
    variables: dict[str, Any]
    """The instance's variables when the step began."""
    created_at: float
    status: JobStatus = "UNLOCKED"
    worker_id: str = ""
    locked_at: float = 0.0
    """By the database's clock."""
    lock_expires_at: float = 0.0
    """By the engine's clock."""


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """An event on Kafka: a job is to be run."""

    dedup_id: str
    """Stays the same each time the event is published."""
    job: Job
    retries_remaining: int
    """The job's, when the event was created."""
    created_at: float


class Event(msgspec.Struct, frozen=True, gc=False):
    """What happened to a job: a worker claimed, completed or failed it or renewed its lease, or its lease ended."""

    kind: Literal["claim", "complete", "fail", "extend", "expire"]
    job_id: str
    worker_id: str
    at: float
    retryable: bool = False
    message: str = ""
    counted: bool = True
    """False if the call was answered as usual but changed nothing."""
    step_execution_id: str = ""
    """Stays the same over all attempts, on every generation."""
