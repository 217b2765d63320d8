"""The calls on jobs: poll, complete, fail, renew; with the rules of both generations."""

from collections.abc import Collection, Generator, Mapping
from typing import Any

from rochallor_worker.devengine.definition import Step
from rochallor_worker.devengine.errors import (
    BadRequestError,
    ConflictError,
    InternalError,
    NotSupportedError,
    PollingOffError,
    SchemaViolationError,
)
from rochallor_worker.devengine.model.core import Core
from rochallor_worker.devengine.model.steps import go_on_after
from rochallor_worker.devengine.model.variables import check_json, check_schema, check_text
from rochallor_worker.devengine.records import Job

DEFAULT_MAX_JOBS = 10
"""How many jobs a poll without a positive maxJobs may claim."""
_SHORTEST_LEASE, _LONGEST_LEASE = 5, 3600


class JobCalls(Core):
    """Part of `EngineState`."""

    def poll(self, worker_id: str, job_types: Collection[str], max_jobs: int = 0, lease_seconds: int = 0) -> list[Job]:
        """Claim up to `max_jobs` UNLOCKED jobs of the types, the oldest first over all of them, for one lease.

        The state of their instances does not matter: jobs of cancelled ones are handed out too.
        """
        if self.dispatch_mode == "kafka_outbox":
            raise PollingOffError("poll path disabled")
        if not worker_id:
            raise BadRequestError("workerId is required")
        if not job_types:
            raise BadRequestError("jobTypes must not be empty")
        lease = _lease_length(lease_seconds, self.lease) if self.renewable else self.lease
        check_text("", worker_id, *job_types)
        now = self.now()
        limit = max_jobs if max_jobs > 0 else DEFAULT_MAX_JOBS
        claimed = self._jobs.claim(worker_id, job_types, limit, now, now + self.skew + lease)
        for job in claimed:
            self._note("claim", job, worker_id, now)
        return claimed

    def complete(self, job_id: str, worker_id: str, variables: Mapping[str, Any] | None = None) -> None:
        """Complete a job: merge `variables` into its instance and enter the next step.

        On generation A from any worker: only a completed or cancelled job stays as it is, and an ended instance takes
        neither variables nor steps. On fenced engines only if the outcome counts (`_counts`).
        """
        for _ in self.completing(job_id, worker_id, variables):
            pass

    def completing(
        self, job_id: str, worker_id: str, variables: Mapping[str, Any] | None = None
    ) -> Generator[None, None, None]:
        """Complete a job; on generation A in two steps, read and write, with a yield in between.

        This is how the transaction works there: two concurrent completes can both move the instance on.
        """
        job = self._job(job_id, f'job "{job_id}" not found')
        fenced = self.generation != "A"
        now = self.now()
        counted = self._counts(job, worker_id, now) if fenced else job.status not in {"COMPLETED", "CANCELLED"}
        if counted:
            check_json("mark step_execution completed: ", dict(variables or {}))
        self._note("complete", job, worker_id, now, counted=counted)
        if not counted:
            return
        step = job.instance.definition.step(job.execution.step_id)
        if fenced:
            self._check_outputs(job, worker_id, step, variables or {}, now)
        else:
            yield
            now = self.now()
        transition = None
        if job.instance.live:
            transition = self._transition(job.instance, now)
            transition.merge(variables)
            go_on_after(transition, step)
        self._jobs.end(job, "COMPLETED", worker_id)
        job.execution.status, job.execution.ended_at = "COMPLETED", now
        self._instances.changed(job.instance)
        if transition is not None:
            self._write(transition)

    def fail(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        """Fail a job: spend a retry and let it wait for a worker again, or fail its instance too.

        On generation A from any worker and in any status: each call spends a retry, and reopens or fails even a
        completed job. On fenced engines only if the outcome counts; a retry is a new job at the end of the queue.
        """
        fenced = self.generation != "A"
        unknown = "lock job instance: no rows in result set" if fenced else f'job "{job_id}" not found'
        job = self._job(job_id, unknown)
        now = self.now()
        counted = not fenced or self._counts(job, worker_id, now)
        again = retryable and job.retries_remaining > 0
        if counted and not again:
            check_text("mark step_execution failed: ", message)
        self._note("fail", job, worker_id, now, counted=counted, retryable=retryable, message=message)
        if not counted:
            return
        if not again:
            self._fail_instance(job, worker_id, message, now)
        elif fenced:
            self._jobs.end(job, "FAILED", worker_id)
            self._jobs.replace(job, job.retries_remaining - 1, now)
        else:
            job.retries_remaining -= 1
            self._jobs.unlock(job, now)

    def extend_lease(self, job_id: str, worker_id: str, lease_seconds: int = 0) -> Job:
        """Renew a lease from now; return the job. Raises `ConflictError` if it is lost (engine.md: "Heartbeat")."""
        if not self.renewable:
            raise NotSupportedError("404 page not found")
        if not worker_id:
            raise BadRequestError("workerId is required")
        lease = _lease_length(lease_seconds, self.lease)
        job = self._job(job_id, f'job "{job_id}" not found')
        now = self.now()
        counted = job.status == "LOCKED" and self._counts(job, worker_id, now)
        self._note("extend", job, worker_id, now, counted=counted)
        if not counted:
            raise ConflictError("job lease lost")
        self._jobs.extend(job, now + self.skew + lease)
        return job

    def _job(self, job_id: str, unknown: str) -> Job:
        try:
            return self.jobs[job_id]
        except KeyError:
            raise InternalError(unknown) from None

    def _counts(self, job: Job, worker_id: str, now: float) -> bool:
        """Whether a fenced engine accepts a worker's outcome of a job (engine.md: "Accepting an outcome")."""
        held = job.status == "LOCKED" and job.worker_id == worker_id and job.lock_expires_at > now
        return job.instance.live and job.execution.status == "RUNNING" and (held or job.status == "UNLOCKED")

    def _check_outputs(self, job: Job, worker_id: str, step: Step, variables: Mapping[str, Any], now: float) -> None:
        """Fail the instance and raise `SchemaViolationError` if a result violates its step's schema."""
        try:
            check_schema(step.outputs_schema, variables)
        except SchemaViolationError as violation:
            self._fail_instance(job, worker_id, str(violation), now)
            raise

    def _fail_instance(self, job: Job, worker_id: str, message: str, now: float) -> None:
        self._jobs.end(job, "FAILED", worker_id)
        job.execution.status, job.execution.ended_at, job.execution.failure_reason = "FAILED", now, message
        self._instances.set_status(job.instance, "FAILED", now, message)


def _lease_length(requested: int, default: float) -> float:
    """Return the length of a lease in seconds; 0 requests the default.

    Raises `BadRequestError` (engine.md: "Heartbeat").
    """
    if requested and not _SHORTEST_LEASE <= requested <= _LONGEST_LEASE:
        raise BadRequestError(f"leaseSeconds must be 0 or {_SHORTEST_LEASE}-{_LONGEST_LEASE}")
    return requested or default
