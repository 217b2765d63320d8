"""The engine's state machine: what each call does, in memory, without I/O (engine.md).

One call is one transaction: when it returns, everything it caused can be seen. Only `sweep` is driven by time, so a
virtual clock is enough to test it.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Mapping
from itertools import islice
from typing import Any, Literal, NoReturn

from rochallor_worker.devengine.backlog import Backlog
from rochallor_worker.devengine.catalog import Catalog
from rochallor_worker.devengine.definition import Step
from rochallor_worker.devengine.errors import (
    BadRequestError,
    ConflictError,
    EndedError,
    InternalError,
    NotFoundError,
    PollingOffError,
)
from rochallor_worker.devengine.outbox import Outbox
from rochallor_worker.devengine.records import (
    Dispatch,
    Event,
    Instance,
    InstanceStatus,
    Job,
    StepExecution,
)
from rochallor_worker.devengine.ulid import Ulids

DispatchMode = Literal["polling", "kafka_outbox"]

DEFAULT_MAX_JOBS = 10
"""What a poll without a positive maxJobs may claim."""


class EngineState:
    """All definitions, instances and jobs, and the calls that change them.

    `lease` is how long a claim lasts, in seconds; `clock` gives the time in epoch seconds. With the dispatch mode
    "kafka_outbox" polls are refused, and `outbox` gets an event each time that a job waits for a worker; the last
    `replay` published ones can be published again. `log` is every claim, complete, fail and expiry in order: the facts
    by which a worker can be judged.
    """

    def __init__(
        self,
        *,
        lease: float = 30.0,
        clock: Callable[[], float] = time.time,
        dispatch_mode: DispatchMode = "polling",
        replay: int = 0,
    ) -> None:
        self.lease = lease
        self.dispatch_mode = dispatch_mode
        self.outbox = Outbox(replay)
        self.definitions = Catalog(clock)
        self.jobs: dict[str, Job] = {}
        self.instances: dict[str, Instance] = {}
        self.log: list[Event] = []
        self._clock = clock
        self._ulids = Ulids()
        self._by_business_key: dict[str, list[Instance]] = {}
        self._totals: Counter[tuple[str, InstanceStatus]] = Counter()
        self._backlog = Backlog()
        # (end of lease, job) in order of claim, which is the order of ends. An entry whose job was settled or
        # claimed again has another end than its job's.
        self._leases: deque[tuple[float, Job]] = deque()

    # instances

    def start(
        self, definition_id: str, version: int = 0, variables: Mapping[str, Any] | None = None, business_key: str = ""
    ) -> Instance:
        """Start an instance at the definition's first step. An unknown definition is an internal error."""
        try:
            definition = self.definitions.get(definition_id, version)
        except NotFoundError as error:
            raise InternalError(f'start: load definition "{definition_id}": {error}') from error
        now = self._clock()
        instance = Instance(
            id=self._ulids.next(now),
            definition=definition,
            status="ACTIVE",
            variables=dict(variables or {}),
            started_at=now,
            business_key=business_key or None,
        )
        self.instances[instance.id] = instance
        self._totals[definition_id, "ACTIVE"] += 1
        if business_key:
            self._by_business_key.setdefault(business_key, []).append(instance)
        self._enter(instance, definition.steps[0], now)
        return instance

    def instance(self, instance_id: str) -> Instance:
        """Return an instance; its history is among its fields."""
        try:
            return self.instances[instance_id]
        except KeyError:
            raise NotFoundError("workflow instance not found") from None

    def list_instances(
        self,
        *,
        definition_id: str = "",
        status: InstanceStatus | Literal[""] = "",
        business_key: str = "",
        page: int = 0,
        page_size: int = 20,
    ) -> tuple[list[Instance], int]:
        """Return one page of the instances that match, the newest first, and how many match."""

        def matches(instance: Instance) -> bool:
            return definition_id in {"", instance.definition.id} and status in {"", instance.status}

        start = page * page_size
        if business_key:
            found = [
                instance for instance in reversed(self._by_business_key.get(business_key, [])) if matches(instance)
            ]
            return found[start : start + page_size], len(found)
        total = sum(
            count
            for (of_definition, with_status), count in self._totals.items()
            if definition_id in {"", of_definition} and status in {"", with_status}
        )
        if start >= total:
            return [], total
        newest_first = filter(matches, reversed(self.instances.values()))
        return list(islice(newest_first, start, min(start + page_size, total))), total

    def cancel(self, instance_id: str, reason: str = "") -> Instance:
        """Cancel a running instance; a finished one is an internal error. Its jobs are left to whoever claims them."""
        instance = self.instance(instance_id)
        if instance.status != "ACTIVE":
            raise EndedError(f"cancel: instance is {instance.status}")
        self._finish(instance, "CANCELLED", self._clock(), reason or None)
        return instance

    def complete_user_task(self, instance_id: str, step_id: str) -> NoReturn:
        """Refuse: no instance of the dev engine has a user task."""
        self.instance(instance_id)
        raise NotFoundError(f'user task not found: step "{step_id}"')

    def signal_wait(self, instance_id: str, step_id: str) -> NoReturn:
        """Refuse: no instance of the dev engine is ever parked at a WAIT step."""
        self.instance(instance_id)
        raise ConflictError(f'wait step "{step_id}" is not currently parked on the instance')

    # jobs

    def poll(self, worker_id: str, job_types: Collection[str], max_jobs: int = 0) -> list[Job]:
        """Claim up to `max_jobs` UNLOCKED jobs of the types, the oldest first over all of them, for one lease."""
        if self.dispatch_mode == "kafka_outbox":
            raise PollingOffError("poll path disabled")
        if not worker_id:
            raise BadRequestError("workerId is required")
        if not job_types:
            raise BadRequestError("jobTypes must not be empty")
        now = self._clock()
        claimed: list[Job] = []
        for job in self._backlog.take(job_types, max_jobs if max_jobs > 0 else DEFAULT_MAX_JOBS):
            job.status, job.worker_id, job.locked_at, job.lock_expires_at = "LOCKED", worker_id, now, now + self.lease
            self._leases.append((job.lock_expires_at, job))
            self.log.append(Event("claim", job.id, worker_id, now))
            claimed.append(job)
        return claimed

    def complete(self, job_id: str, worker_id: str, variables: Mapping[str, Any] | None = None) -> None:
        """Complete a job, whoever holds it; merge `variables` into its instance and enter the next step.

        A completed job stays as it is. An instance that has ended takes neither variables nor steps.
        """
        for _ in self.completing(job_id, worker_id, variables):
            pass

    def completing(
        self, job_id: str, worker_id: str, variables: Mapping[str, Any] | None = None
    ) -> Generator[None, None, None]:
        """Complete a job as two steps, between which it yields: reading its status, and writing.

        The engine's transaction is like that, so that two completes at once can both move the instance on.
        """
        job = self._job(job_id)
        self.log.append(Event("complete", job_id, worker_id, self._clock()))
        if job.status == "COMPLETED":
            return
        yield
        now = self._clock()
        job.status, job.worker_id = "COMPLETED", worker_id
        job.execution.status, job.execution.ended_at = "COMPLETED", now
        instance = job.instance
        if instance.status != "ACTIVE":
            return
        if variables:
            instance.variables = {**instance.variables, **variables}  # a new map: jobs keep what they began with
        step = instance.definition.step(job.execution.step_id)
        instance.current_step_ids = _without(instance.current_step_ids, step.id)
        self._enter(instance, instance.definition.step(step.next_step), now)

    def fail(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        """Fail a job, whoever holds it and whatever its status: spend a retry and unlock it, or fail its instance too.

        It is not idempotent: each call spends a retry, reopens a completed job, or fails a completed one.
        """
        job = self._job(job_id)
        now = self._clock()
        self.log.append(Event("fail", job_id, worker_id, now, retryable, message))
        if retryable and job.retries_remaining > 0:
            job.retries_remaining -= 1
            self._unlock(job)
            return
        job.status, job.worker_id = "FAILED", worker_id
        job.execution.status, job.execution.ended_at, job.execution.failure_reason = "FAILED", now, message
        self._finish(job.instance, "FAILED", now, message)

    def sweep(self) -> int:
        """Unlock the jobs whose lease has ended, without spending a retry; return how many."""
        now = self._clock()
        unlocked = 0
        while self._leases and self._leases[0][0] < now:
            end, job = self._leases.popleft()
            if job.status == "LOCKED" and job.lock_expires_at == end:
                self.log.append(Event("expire", job.id, job.worker_id, now))
                self._unlock(job)
                unlocked += 1
        return unlocked

    # transitions

    def _job(self, job_id: str) -> Job:
        try:
            return self.jobs[job_id]
        except KeyError:
            raise InternalError(f'job "{job_id}" not found') from None

    def _enter(self, instance: Instance, step: Step, now: float) -> None:
        """Begin a step: a SERVICE_TASK makes a job, END completes the instance."""
        execution = StepExecution(
            id=self._ulids.next(now),
            instance_id=instance.id,
            step_id=step.id,
            step_type=step.type,
            attempt=1 + sum(earlier.step_id == step.id for earlier in instance.history),
            status="RUNNING",
            started_at=now,
        )
        instance.history += (execution,)
        if step.type == "END":
            execution.status, execution.ended_at = "COMPLETED", now
            self._finish(instance, "COMPLETED", now, None)
            return
        instance.current_step_ids = (*_without(instance.current_step_ids, step.id), step.id)
        job = Job(
            id=self._ulids.next(now),
            number=len(self.jobs),
            job_type=step.job_type,
            instance=instance,
            execution=execution,
            retries_remaining=step.retry_count,
            variables=instance.variables,
            created_at=now,
        )
        self.jobs[job.id] = job
        self._unlock(job)

    def _finish(self, instance: Instance, status: InstanceStatus, now: float, reason: str | None) -> None:
        self._totals[instance.definition.id, instance.status] -= 1
        self._totals[instance.definition.id, status] += 1
        instance.status, instance.completed_at, instance.failure_reason = status, now, reason

    def _unlock(self, job: Job) -> None:
        job.status, job.worker_id, job.locked_at, job.lock_expires_at = "UNLOCKED", "", 0.0, 0.0
        if self.dispatch_mode == "kafka_outbox":
            now = self._clock()
            self.outbox.add(Dispatch(self._ulids.next(now), job, job.retries_remaining, now))
        else:
            self._backlog.add(job)


def _without(step_ids: tuple[str, ...], step_id: str) -> tuple[str, ...]:
    return tuple(other for other in step_ids if other != step_id)
