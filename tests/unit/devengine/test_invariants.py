"""Any sequence of calls, right or wrong, against a plain reading of the contract (engine.md: "What the job calls…")."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
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
    rule,
)

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.model import EngineState

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Event

RETRIES = {"a": 2, "b": 0}
WORKERS = st.sampled_from(["w1", "w2", "w3"])
MESSAGES = st.sampled_from(["boom", ""])


@dataclass
class Expected:
    """What the contract says of one job."""

    job_type: str
    retries: int
    status: str = "UNLOCKED"
    ends_at: float = 0.0


class Contract(RuleBasedStateMachine):
    """Calls the engine and keeps, by the simplest means, what the contract says of each job and instance."""

    claimed: Bundle[str] = Bundle("claimed")

    @initialize()
    def begin(self) -> None:
        self.now = 1_000_000.0
        self.engine = EngineState(clock=lambda: self.now)
        steps = [
            {
                "id": "a",
                "name": "A",
                "type": "SERVICE_TASK",
                "jobType": "a",
                "retryCount": RETRIES["a"],
                "nextStep": "b",
            },
            {"id": "b", "name": "B", "type": "SERVICE_TASK", "jobType": "b", "nextStep": "e"},
            {"id": "e", "name": "E", "type": "END"},
        ]
        self.engine.definitions.upload(msgspec.convert({"id": "d", "name": "D", "steps": steps}, Definition))
        self.jobs: dict[str, Expected] = {}
        self.instances: dict[str, str] = {}

    def see_new_jobs(self) -> None:
        """Take up the jobs that a call has made; that it made the right ones is checked by `jobs_are_as_expected`."""
        for job in list(self.engine.jobs.values())[len(self.jobs) :]:
            self.jobs[job.id] = Expected(job.job_type, RETRIES[job.job_type])

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
        assert self.engine.sweep() == len(over)
        for job in over:
            job.status = "UNLOCKED"

    @rule(target=claimed, worker=WORKERS, job_types=st.sets(st.sampled_from("ab"), min_size=1), limit=st.integers(1, 5))
    def poll(self, worker: str, job_types: set[str], limit: int) -> MultipleResults[str]:
        waiting = [
            job_id for job_id, job in self.jobs.items() if job.status == "UNLOCKED" and job.job_type in job_types
        ]
        got = self.engine.poll(worker, sorted(job_types), limit)
        assert [job.id for job in got] == waiting[:limit]  # jobs are kept in order of creation
        for job in got:
            assert (job.worker_id, job.locked_at, job.lock_expires_at) == (worker, self.now, self.now + 30)
            self.jobs[job.id].status, self.jobs[job.id].ends_at = "LOCKED", self.now + 30
        return multiple(*(job.id for job in got))

    @rule(job_id=claimed, worker=WORKERS)
    def complete(self, job_id: str, worker: str) -> None:
        job, owner = self.jobs[job_id], self.engine.jobs[job_id].instance
        before = len(self.engine.jobs)
        self.engine.complete(job_id, worker)
        moves = job.status != "COMPLETED" and self.instances[owner.id] == "ACTIVE"
        job.status = "COMPLETED"
        assert len(self.engine.jobs) - before == (moves and job.job_type == "a")
        if moves and job.job_type == "b":
            self.instances[owner.id] = "COMPLETED"
        self.see_new_jobs()

    @rule(job_id=claimed, worker=WORKERS, message=MESSAGES, retryable=st.booleans())
    def fail(self, job_id: str, worker: str, message: str, retryable: bool) -> None:
        job, owner = self.jobs[job_id], self.engine.jobs[job_id].instance
        self.engine.fail(job_id, worker, message, retryable=retryable)
        if retryable and job.retries > 0:
            job.retries -= 1
            job.status = "UNLOCKED"
        else:
            job.status = "FAILED"
            self.instances[owner.id] = "FAILED"

    @rule(job_id=consumes(claimed))
    def cancel(self, job_id: str) -> None:
        owner = self.engine.jobs[job_id].instance
        if self.instances[owner.id] == "ACTIVE":
            self.engine.cancel(owner.id)
            self.instances[owner.id] = "CANCELLED"

    @invariant()
    def jobs_are_as_expected(self) -> None:
        assert {job_id: (job.status, job.retries) for job_id, job in self.jobs.items()} == {
            job.id: (job.status, job.retries_remaining) for job in self.engine.jobs.values()
        }

    @invariant()
    def instances_are_as_expected(self) -> None:
        assert self.instances == {one.id: one.status for one in self.engine.instances.values()}
        for status, count in Counter(self.instances.values()).items():
            assert self.engine.list_instances(status=status)[1] == count  # type: ignore[arg-type]

    @invariant()
    def nobody_claims_inside_anothers_lease(self) -> None:
        by_job: dict[str, list[Event]] = defaultdict(list)
        for event in self.engine.log:
            by_job[event.job_id].append(event)
        for job_id, events in by_job.items():
            runs = expiries = 0
            for index, event in enumerate(events):
                runs += event.kind == "claim"
                expiries += event.kind == "expire"
                earlier = events[index - 1].kind if index else None
                if event.kind == "claim":
                    assert earlier in {None, "fail", "expire"}, events
                if event.kind == "expire":
                    claims = [one.at for one in events[:index] if one.kind == "claim"]
                    assert event.at > claims[-1] + 30, events
            assert runs <= RETRIES[self.jobs[job_id].job_type] + 1 + expiries, events


Contract.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestContract = Contract.TestCase
