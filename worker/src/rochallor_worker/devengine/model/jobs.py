"""The jobs, the backlog of those that wait for a worker, and the running leases."""

from collections.abc import Collection, Iterable, Iterator
from heapq import heappop, heappush
from typing import Any

from rochallor_worker.devengine.model.ulid import Ulids
from rochallor_worker.devengine.outbox import Outbox
from rochallor_worker.devengine.records import Changed, Dispatch, DispatchMode, Instance, Job, JobStatus, StepExecution


class Jobs:
    """All jobs in order of creation, in `rows` by id; with Kafka dispatch, `outbox` gets those that wait."""

    def __init__(self, ulids: Ulids, dispatch_mode: DispatchMode, replay: int, changed: Changed) -> None:
        self.rows: dict[str, Job] = {}
        self.dispatch_mode: DispatchMode = dispatch_mode
        self.outbox = Outbox(replay, changed)
        self._ulids = ulids
        self._changed = changed
        self._backlog = Backlog()
        self._leases = Leases()
        self._latest: dict[str, Job] = {}

    def add(
        self,
        execution: StepExecution,
        instance: Instance,
        job_type: str,
        retries_remaining: int,
        variables: dict[str, Any],
        now: float,
    ) -> None:
        """Create a job, which waits for a worker behind all others."""
        job = Job(
            id=self._ulids.next(now),
            number=len(self.rows),
            job_type=job_type,
            instance=instance,
            execution=execution,
            retries_remaining=retries_remaining,
            variables=variables,
            created_at=now,
        )
        self.rows[job.id] = self._latest[execution.id] = job
        self.unlock(job, now)

    def restore(self, job: Job) -> None:
        """Put back a job as it was; those that were created before it are back already."""
        self.rows[job.id] = self._latest[job.execution.id] = job
        if job.status == "UNLOCKED":
            self._backlog.add(job)  # with Kafka dispatch nobody polls it
        elif job.status == "LOCKED":
            self._leases.add(job)

    def replace(self, job: Job, retries_remaining: int, now: float) -> None:
        """Create another job for the same step execution with the same variables."""
        self.add(job.execution, job.instance, job.job_type, retries_remaining, job.variables, now)

    def unlock(self, job: Job, now: float) -> None:
        """Let a job wait for a worker, in its old position if it had one."""
        job.worker_id, job.locked_at, job.lock_expires_at = "", 0.0, 0.0
        self._set_status(job, "UNLOCKED")
        if self.dispatch_mode == "kafka_outbox":
            self.outbox.add(Dispatch(self._ulids.next(now), job, job.retries_remaining, now))
        else:
            self._backlog.add(job)

    def cancel(self, execution: StepExecution) -> None:
        """Cancel the job of a step execution, if it has one that has not ended."""
        job = self._latest.get(execution.id)
        if job is not None and job.status in {"UNLOCKED", "LOCKED"}:
            self.end(job, "CANCELLED", job.worker_id)

    def end(self, job: Job, status: JobStatus, worker_id: str) -> None:
        """Set the final status of a job, and the worker that it is due to."""
        job.worker_id = worker_id
        self._set_status(job, status)

    def claim(self, worker_id: str, job_types: Collection[str], limit: int, now: float, until: float) -> list[Job]:
        """Lock up to `limit` jobs of the types, the oldest first over all types; the lease ends at `until`."""
        claimed: list[Job] = []
        for job in self._backlog.take(job_types, limit):
            job.worker_id, job.locked_at = worker_id, now
            self._set_status(job, "LOCKED")
            self.extend(job, until)
            claimed.append(job)
        return claimed

    def extend(self, job: Job, until: float) -> None:
        """Let the lease of a job end at `until`."""
        job.lock_expires_at = until
        self._changed("job", job.id, job)
        self._leases.add(job)

    def expired(self, now: float, *, of_ended: bool) -> Iterator[Job]:
        """Yield each job whose lease has ended, once; those of ended instances only if so asked.

        Otherwise they are kept back: an instance that is retried has its leases recovered, too.
        """
        kept = []
        for job in self._leases.ended(now):
            if of_ended or job.instance.live:
                yield job
            else:
                kept.append(job)
        for job in kept:
            self._leases.add(job)

    def _set_status(self, job: Job, status: JobStatus) -> None:
        job.status = status
        self._changed("job", job.id, job)


class Backlog:
    """The UNLOCKED jobs of each type in order of creation.

    The entry of a job that leaves this status other than by `take` stays until it comes to the front, where it is
    dropped; if the job is UNLOCKED again by then, the entry serves it.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, list[int]] = {}
        self._jobs: dict[int, Job] = {}

    def add(self, job: Job) -> None:
        """Add a job that is now UNLOCKED."""
        if job.number not in self._jobs:
            self._jobs[job.number] = job
            heappush(self._numbers.setdefault(job.job_type, []), job.number)

    def take(self, job_types: Iterable[str], limit: int) -> Iterator[Job]:
        """Yield up to `limit` jobs, the oldest first over all the types. Lock each before asking for the next."""
        queues = [queue for job_type in set(job_types) if (queue := self._numbers.get(job_type))]
        while limit > 0:
            queues = [queue for queue in queues if self._trim(queue)]
            if not queues:
                return
            queue = min(queues, key=lambda queue: queue[0])
            yield self._jobs.pop(heappop(queue))
            limit -= 1

    def _trim(self, queue: list[int]) -> bool:
        """Drop entries from the front up to an UNLOCKED job's; return whether there is one."""
        while queue and self._jobs[queue[0]].status != "UNLOCKED":
            del self._jobs[heappop(queue)]
        return bool(queue)


class Leases:
    """The ends of leases. The entry of a lease that was renewed or whose job is done is dropped at its old end."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, int, Job]] = []

    def add(self, job: Job) -> None:
        """Add a job's current lease."""
        heappush(self._ends, (job.lock_expires_at, job.number, job))

    def ended(self, now: float) -> Iterator[Job]:
        """Remove and yield the jobs whose lease has ended, in order of the end."""
        while self._ends and self._ends[0][0] < now:
            end, _, job = heappop(self._ends)
            if job.status == "LOCKED" and job.lock_expires_at == end:
                yield job
