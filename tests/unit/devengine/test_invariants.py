"""Any sequence of calls, valid or not, compared with a plain model of the contract of each generation (engine.md)."""

from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import ConflictError
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import Generation

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Event

RETRIES = {"a": 2, "b": 0}
WORKERS = st.sampled_from(["w1", "w2", "w3"])
MESSAGES = st.sampled_from(["boom", ""])


@dataclass
class Expected:
    """The expected state of one job."""

    job_type: str
    retries: int
    execution: str
    instance: str
    status: str = "UNLOCKED"
    worker: str = ""
    ends_at: float = 0.0


class Contract(RuleBasedStateMachine):
    """Calls the engine, and keeps the expected state of each job and instance in the simplest way."""

    generation: Generation
    claimed: Bundle[str] = Bundle("claimed")

    @initialize()
    def begin(self) -> None:
        self.now = 1_000_000.0
        self.engine = EngineState(generation=self.generation, clock=lambda: self.now)
        task = {"name": "N", "type": "SERVICE_TASK"}
        steps = [
            {**task, "id": "a", "jobType": "a", "retryCount": RETRIES["a"], "nextStep": "b"},
            {**task, "id": "b", "jobType": "b", "nextStep": "e"},
            {"id": "e", "name": "E", "type": "END"},
        ]
        self.engine.definitions.upload(msgspec.convert({"id": "d", "name": "D", "steps": steps}, Definition))
        self.jobs: dict[str, Expected] = {}
        self.instances: dict[str, str] = {}
        self.failed: set[str] = set()  # executions

    @property
    def fenced(self) -> bool:
        return self.generation == "fenced"

    def see_new_jobs(self, *replaced: Expected, spent: int = 0) -> None:
        """Record the jobs that a call has created: one for each of those replaced, else those of steps just entered."""
        made = list(self.engine.jobs.values())[len(self.jobs) :]
        for index, job in enumerate(made):
            retries = replaced[index].retries - spent if replaced else RETRIES[job.job_type]
            self.jobs[job.id] = Expected(job.job_type, retries, job.execution.id, job.instance.id)
        if replaced:
            assert [job.execution.id for job in made] == [job.execution for job in replaced]

    def held(self, job: Expected, worker: str) -> bool:
        return job.status == "LOCKED" and job.worker == worker and job.ends_at > self.now

    def counts(self, job: Expected, worker: str) -> bool:
        """Whether a fenced engine accepts an outcome."""
        waits = job.status == "UNLOCKED"
        return self.instances[job.instance] == "ACTIVE" and (waits or self.held(job, worker))

    @rule(count=st.integers(1, 4))
    def start(self, count: int) -> None:
        for _ in range(count):
            self.instances[self.engine.start("d").id] = "ACTIVE"
            self.see_new_jobs()

    @rule(seconds=st.sampled_from([0.0, 0.001, 15.0, 29.999, 30.0, 31.0]), sweep=st.booleans())
    def pass_time(self, seconds: float, sweep: bool) -> None:
        self.now += seconds
        if not sweep:
            return
        over = [job for job in self.jobs.values() if job.status == "LOCKED" and job.ends_at < self.now]
        if self.fenced:
            over = [job for job in over if self.instances[job.instance] == "ACTIVE"]
        over.sort(key=lambda job: job.ends_at)
        assert self.engine.sweep() == len(over)
        for job in over:
            job.status = "CANCELLED" if self.fenced else "UNLOCKED"
        if self.fenced:
            self.see_new_jobs(*over)

    @rule(target=claimed, worker=WORKERS, job_types=st.sets(st.sampled_from("ab"), min_size=1), limit=st.integers(1, 5))
    def poll(self, worker: str, job_types: set[str], limit: int) -> MultipleResults[str]:
        waiting = [
            job_id for job_id, job in self.jobs.items() if job.status == "UNLOCKED" and job.job_type in job_types
        ]
        got = self.engine.poll(worker, sorted(job_types), limit)
        assert [job.id for job in got] == waiting[:limit]  # jobs are kept in order of creation
        for job in got:
            assert (job.worker_id, job.locked_at, job.lock_expires_at) == (worker, self.now, self.now + 30)
            expected = self.jobs[job.id]
            expected.status, expected.worker, expected.ends_at = "LOCKED", worker, self.now + 30
        return multiple(*(job.id for job in got))

    @precondition(lambda self: self.fenced)
    @rule(job_id=claimed, worker=WORKERS)
    def extend(self, job_id: str, worker: str) -> None:
        job = self.jobs[job_id]
        kept = self.instances[job.instance] == "ACTIVE" and self.held(job, worker)
        with nullcontext() if kept else pytest.raises(ConflictError):
            self.engine.extend_lease(job_id, worker)
            job.ends_at = self.now + 30

    @rule(job_id=claimed, worker=WORKERS)
    def complete(self, job_id: str, worker: str) -> None:
        job = self.jobs[job_id]
        before = len(self.engine.jobs)
        self.engine.complete(job_id, worker)
        counts = self.counts(job, worker) if self.fenced else job.status != "COMPLETED"
        moves = counts and self.instances[job.instance] == "ACTIVE"
        if counts:
            job.status = "COMPLETED"
        assert len(self.engine.jobs) - before == (moves and job.job_type == "a")
        if moves and job.job_type == "b":
            self.instances[job.instance] = "COMPLETED"
        self.see_new_jobs()

    @rule(job_id=claimed, worker=WORKERS, message=MESSAGES, retryable=st.booleans())
    def fail(self, job_id: str, worker: str, message: str, retryable: bool) -> None:
        job = self.jobs[job_id]
        self.engine.fail(job_id, worker, message, retryable=retryable)
        if self.fenced and not self.counts(job, worker):
            return
        if not retryable or not job.retries:
            job.status = self.instances[job.instance] = "FAILED"
            self.failed.add(job.execution)
        elif self.fenced:
            job.status = "FAILED"
            self.see_new_jobs(job, spent=1)
        else:
            job.status = "UNLOCKED"
            job.retries -= 1

    @precondition(lambda self: self.fenced)
    @rule(job_id=claimed)
    def retry_step(self, job_id: str) -> None:
        job = self.jobs[job_id]
        same_step = (
            one.execution for one in self.jobs.values() if (one.instance, one.job_type) == (job.instance, job.job_type)
        )
        *_, latest = same_step
        can = self.instances[job.instance] == "FAILED" and latest in self.failed
        with nullcontext() if can else pytest.raises(ConflictError):
            self.engine.retry_step(job.instance, job.job_type)
            self.instances[job.instance] = "ACTIVE"
            self.see_new_jobs()

    @rule(job_id=consumes(claimed))
    def cancel(self, job_id: str) -> None:
        instance = self.jobs[job_id].instance
        if self.instances[instance] == "ACTIVE":
            self.engine.cancel(instance)
            self.instances[instance] = "CANCELLED"

    @invariant()
    def jobs_are_as_expected(self) -> None:
        assert {job_id: (job.status, job.retries) for job_id, job in self.jobs.items()} == {
            job.id: (job.status, job.retries_remaining) for job in self.engine.jobs.values()
        }

    @invariant()
    def instances_are_as_expected(self) -> None:
        assert self.instances == {one.id: one.status for one in self.engine.instances.values()}
        for status, count in Counter(self.instances.values()).items():
            assert self.engine.list_instances(status=status)[1] == count

    @invariant()
    def no_job_is_claimed_within_a_lease(self) -> None:
        by_execution: dict[str, list[Event]] = defaultdict(list)
        for event in self.engine.log:
            if event.counted:
                by_execution[event.step_execution_id].append(event)
        for events in by_execution.values():
            runs = expiries = 0
            leased_at = 0.0
            for earlier, event in zip([None, *events], events, strict=False):
                runs += event.kind == "claim"
                expiries += event.kind == "expire"
                if event.kind == "claim":
                    assert earlier is None or earlier.kind in {"fail", "expire"}, events
                if event.kind == "expire":
                    assert event.at > leased_at + 30, events
                if event.kind in {"claim", "extend"}:
                    leased_at = event.at
            assert runs <= RETRIES[self.jobs[events[0].job_id].job_type] + 1 + expiries, events


class Unfenced(Contract):
    generation = "A"


class Fenced(Contract):
    generation = "fenced"


Unfenced.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
Fenced.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestUnfenced = Unfenced.TestCase
TestFenced = Fenced.TestCase
