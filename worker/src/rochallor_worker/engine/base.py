"""The engine as this package sees it: thirteen calls, typed results, one error tree (`rochallor_worker.errors`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

MAX_JOBS_PER_POLL = 100
"""The published limit of one poll (engine.md: more is accepted today, though not promised)."""
MAX_ANSWER_BYTES = 256 * 2**20
"""Largest answer taken, far above gRPC's default of 4 MiB: an instance's variables grow with each job, and what the
engine has it must be able to give. Whatever is at the other end cannot fill the worker's memory any further."""
UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""What reading JSON raises; text that is not UTF-8 and a number of too many digits are `ValueError`s to msgspec."""


def one_line(words: str) -> str:
    """Return what somebody answered as one line of at most 500 characters: it may be a page."""
    return " ".join(words.split())[:500]


class InstanceStatus(StrEnum):
    """Where an instance stands; the last three are final."""

    ACTIVE = "ACTIVE"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object of the engine: camelCase there, snake_case here; unknown fields are ignored."""


class ClaimedJob(_Wire, frozen=True):
    """A job leased to us by a poll. `variables` is None where the transport does not carry them (gRPC)."""

    id: str
    instance_id: str
    job_type: str
    step_execution_id: str = ""
    retries_remaining: int = 0
    variables: dict[str, Any] | None = None


class Instance(_Wire, frozen=True):
    """An instance of a definition."""

    id: str
    definition_id: str
    definition_version: int
    status: InstanceStatus
    current_step_ids: list[str] | None = None
    variables: dict[str, Any] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failure_reason: str = ""
    business_key: str = ""


class DefinitionVersion(_Wire, frozen=True):
    """One uploaded version of a definition."""

    id: str
    version: int
    name: str = ""
    uploaded_at: datetime | None = None


class StepExecution(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "id": "ID",
        "instance_id": "InstanceID",
        "step_id": "StepID",
        "step_type": "StepType",
        "attempt_number": "AttemptNumber",
        "status": "Status",
        "started_at": "StartedAt",
        "ended_at": "EndedAt",
        "failure_reason": "FailureReason",
    },
):
    """One run of a step (engine.md: the history's keys are PascalCase)."""

    id: str
    instance_id: str
    step_id: str
    step_type: str
    attempt_number: int
    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure_reason: str | None = None


T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing; `total` counts all pages."""

    items: list[T]
    total: int


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach an engine behind a gateway. Files are read again when they change, so that secrets can rotate."""

    token: str = field(default="", repr=False)
    """A bearer token. `token_file` wins over it."""
    token_file: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Sent with each call."""
    ca_file: str = ""
    """A private CA (PEM); else the system's."""
    cert_file: str = ""
    """A client certificate (PEM), with `key_file`."""
    key_file: str = ""


class EngineClient(Protocol):
    """The engine's thirteen calls. Each raises `EngineError`; every argument and result means what engine.md says."""

    async def upload_definition(self, definition: Mapping[str, Any]) -> DefinitionVersion:
        """Upload a definition; the same id again makes a new version."""
        ...

    async def get_definition(self, definition_id: str, version: int | None = None) -> dict[str, Any]:
        """Return a definition, the newest version unless one is named."""
        ...

    async def list_definitions(
        self, *, keyword: str = "", page: int = 0, page_size: int = 20
    ) -> Page[DefinitionVersion]:
        """List definitions; pages count from 0 and hold 1–200."""
        ...

    async def start_instance(
        self,
        definition_id: str,
        variables: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        business_key: str = "",
    ) -> Instance:
        """Start an instance of a definition."""
        ...

    async def get_instance(self, instance_id: str) -> Instance:
        """Return an instance with its variables."""
        ...

    async def list_instances(
        self,
        *,
        definition_id: str = "",
        status: InstanceStatus | None = None,
        business_key: str = "",
        page: int = 0,
        page_size: int = 20,
    ) -> Page[Instance]:
        """List instances; pages count from 0 and hold 1–200."""
        ...

    async def get_instance_history(self, instance_id: str) -> list[StepExecution]:
        """Return the runs of an instance's steps, oldest first."""
        ...

    async def cancel_instance(self, instance_id: str, *, reason: str = "") -> Instance:
        """Cancel an instance. A second cancel is an error."""
        ...

    async def poll_jobs(self, worker_id: str, job_types: Sequence[str], max_jobs: int) -> list[ClaimedJob]:
        """Lease up to `max_jobs` jobs for 30 s; answers at once, with none if there is none.

        Raises `DispatchMismatch` where the engine dispatches over Kafka.
        """
        ...

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        """Complete a job and merge `variables` into its instance. Safe to send again, never twice at once."""
        ...

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        """Fail a job. NOT safe to send again: each accepted call spends a retry."""
        ...

    async def complete_user_task(
        self, instance_id: str, step_id: str, *, completed_by: str = "", variables: Mapping[str, Any] | None = None
    ) -> None:
        """Complete a user task; a replay changes nothing."""
        ...

    async def signal_wait(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        """Wake an instance parked at a WAIT step. Raises `Conflict` when it is not parked there."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
