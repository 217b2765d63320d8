"""What the dev engine remembers. Times are epoch seconds.

Records are changed by `EngineState` alone; whoever judges a worker reads them. They are hidden from the garbage
collector, since there may be millions of them and none refers back to another.
"""

from typing import Any, Literal

import msgspec

from rochallor_worker.devengine.definition import Definition

InstanceStatus = Literal["ACTIVE", "WAITING", "COMPLETED", "FAILED", "CANCELLED"]
JobStatus = Literal["UNLOCKED", "LOCKED", "COMPLETED", "FAILED"]
StepStatus = Literal["RUNNING", "COMPLETED", "FAILED"]


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
    completed_at: float | None = None
    failure_reason: str | None = None


class Job(msgspec.Struct, gc=False):
    """One run of a SERVICE_TASK step, to be claimed by a worker."""

    id: str
    number: int
    """Place in the order of creation, from 0."""
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
    lock_expires_at: float = 0.0


class Dispatch(msgspec.Struct, frozen=True, gc=False):
    """One event for the workers that listen to Kafka: a job is to be run."""

    dedup_id: str
    """The same however often the event is published."""
    job: Job
    retries_remaining: int
    """Of the job, when the event was made."""
    created_at: float


class Event(msgspec.Struct, frozen=True, gc=False):
    """What happened to a job: a worker claimed it, completed it or failed it, or its lease ended."""

    kind: Literal["claim", "complete", "fail", "expire"]
    job_id: str
    worker_id: str
    at: float
    retryable: bool = False
    message: str = ""
