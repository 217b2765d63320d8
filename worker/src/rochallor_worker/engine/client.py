"""The engine as this package sees it: fifteen calls, typed results, one error tree (`rochallor_worker.errors`)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Annotated, Any, Generic, Protocol, Self, TypeVar

import msgspec

MAX_JOBS_PER_POLL = 100
"""The published limit of one poll (engine.md: more is accepted today, though not promised)."""
MAX_ANSWER_BYTES = 32 * 2**20
"""Largest answer that is read, far above gRPC's default of 4 MiB: an instance's variables grow with each job. It limits
how much of the worker's memory an answer can fill: decoded, JSON takes many times its size."""
UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""What decoding JSON raises: msgspec raises `ValueError` for text that is not UTF-8 and for too many digits."""


def one_line(text: str) -> str:
    """Return the text of an answer, which may be a whole page, as one line of at most 500 characters."""
    return " ".join(text.split())[:500]


class InstanceStatus(StrEnum):
    """The status of an instance; the last three are final. Others, of newer engines, are plain text."""

    ACTIVE = "ACTIVE"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object of the engine: camelCase there, snake_case here. Unknown fields are ignored."""


Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its UTC offset: any two can be compared."""


class ClaimedJob(_Wire, frozen=True):
    """A job leased to this worker by a poll, or dispatched to it. `variables` is None if it does not carry them."""

    id: str
    instance_id: str
    job_type: str
    step_execution_id: str = ""
    retries_remaining: int = 0
    variables: dict[str, Any] | None = None
    created_at: Moment | None = None
    """When it was created; over gRPC, what its id says. Generation A creates it once, the others for each attempt."""
    locked_at: Moment | None = None
    """When the lease began, by the database's clock. Only over REST."""
    lock_expires_at: Moment | None = None
    """When the lease ends, by the engine's clock."""

    @property
    def key(self) -> str:
        """What stays the same in all attempts of this step, whatever the engine's generation (engine.md)."""
        return self.step_execution_id or self.id


class Instance(_Wire, frozen=True):
    """An instance of a definition."""

    id: str
    definition_id: str
    definition_version: int
    status: str
    """An `InstanceStatus`, or text that this client does not know."""
    current_step_ids: list[str] | None = None
    variables: dict[str, Any] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failure_reason: str = ""
    business_key: str = ""

    def __post_init__(self) -> None:
        with suppress(ValueError):  # so that a known status is a member of the enum, over each transport
            msgspec.structs.force_setattr(self, "status", InstanceStatus(self.status))


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
    """One page of a listing; `total` counts the items of all pages."""

    items: list[T]
    total: int


@dataclass(frozen=True, slots=True)
class OAuth:
    """A client that gets its bearer tokens from a token server (OAuth2 client credentials). Its files are read again
    for each token."""

    token_url: str
    client_id_file: str
    client_secret_file: str
    scope: str = ""
    """What to ask for, separated by spaces. Default: what the server gives."""
    audience: str = ""
    """Whom the token is for, where the server wants to know."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach an engine behind a gateway. Files are read again when they change, so secrets can be rotated."""

    token: str = field(default="", repr=False)
    """A bearer token. `token_file` wins over it."""
    token_file: str = ""
    oauth: OAuth | None = None
    """Gives the bearer token, instead of `token` and `token_file`."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Sent with each call."""
    ca_file: str = ""
    """A private CA (PEM). Default: the system's."""
    cert_file: str = ""
    """A client certificate (PEM), with `key_file`."""
    key_file: str = ""


class EngineClient(Protocol):
    """The engine's fifteen calls, with arguments and results as in engine.md. Each may raise `EngineError`."""

    async def upload_definition(self, definition: Mapping[str, Any]) -> DefinitionVersion:
        """Upload a definition. An existing id gets a new version."""
        ...

    async def get_definition(self, definition_id: str, version: int | None = None) -> dict[str, Any]:
        """Return a definition: the newest version unless one is given."""
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
        """Start an instance of a definition.

        Raises `Conflict` if a running instance has the business key, and `SchemaViolation` if the definition's
        `input_schema` refuses the variables.
        """
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

    async def retry_step(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> Instance:
        """Run a failed step of a FAILED instance again, with all its retries; `variables` are merged first.

        Raises `Conflict` if instance or step is not FAILED or the business key is in use, and `NotSupported` on an
        engine of generation A.
        """
        ...

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> list[ClaimedJob]:
        """Lease up to `max_jobs` jobs. Returns at once, with an empty list if there are none.

        `lease` is the requested length in whole seconds; None means 30 s, as does any length where leases cannot be
        renewed. The answer says what was granted.

        Raises `DispatchMismatch` if the engine dispatches over Kafka.
        """
        ...

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        """Complete a job and merge `variables` into its instance. Safe to send again, but not concurrently.

        Success proves nothing once the lease has ended: a fenced engine then answers, and drops the result (engine.md).
        Raises `SchemaViolation` for a result that the step's schema refuses.
        """
        ...

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        """Fail a job. NOT safe to send again: on an unfenced engine each call spends a retry."""
        ...

    async def extend_lease(self, job_id: str, worker_id: str, lease: float) -> datetime:
        """Renew a job's lease for `lease` seconds from now; return its new end, by the engine's clock.

        Raises `Conflict` if the lease is lost (expired, another worker's, or the instance has ended), and
        `NotSupported` where leases cannot be renewed (engine.md, "Heartbeat").
        """
        ...

    async def complete_user_task(
        self, instance_id: str, step_id: str, *, completed_by: str = "", variables: Mapping[str, Any] | None = None
    ) -> None:
        """Complete a user task. A repeated call raises `NotFound` or `Conflict` (engine.md)."""
        ...

    async def signal_wait(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        """Wake an instance that waits at a WAIT step. Raises `Conflict` if it does not wait there."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
