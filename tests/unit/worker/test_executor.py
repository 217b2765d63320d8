"""The path of one job by itself, on a virtual clock: its events, what is kept and settled, and what is waited for."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from rochallor_worker import Backoff, Job, NonRetryableError
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import AnswerLost, NotFound, Rejected, SchemaViolation, Unreachable
from rochallor_worker.events import (
    ClaimExpired,
    Event,
    Executed,
    OutcomeRetried,
    Overran,
    Recalled,
    Reported,
    Started,
    TimedOut,
    Verdict,
)
from rochallor_worker.execution.executor import MAX_RETRY_PAUSE, Attempts, Executor
from rochallor_worker.execution.in_flight import Place
from rochallor_worker.execution.journal import Journal
from rochallor_worker.execution.lease import MARGIN, Grant, Lease
from rochallor_worker.execution.slots import Slots
from rochallor_worker.handlers.limits import Limits
from rochallor_worker.handlers.processes import Processes
from rochallor_worker.outcome import Completed, Failed
from rochallor_worker.registry import Handler
from rochallor_worker.source.base import Delivery
from unit.worker.engines import Fault, FaultyEngine, definition, gates_of, loop_time, no_fault
from unit.worker.killable import KillableJournal

pytestmark = pytest.mark.looptime

LEASE = 30.0


class Scene:
    """An executor, and jobs for it from an engine whose answers may go wrong once they are claimed."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.engine = FaultyEngine()
        self.journal = Journal()
        self.stopping, self.cut_off = asyncio.Event(), asyncio.Event()
        self.events: list[Event] = []
        self.verdicts: list[Verdict] = []
        self.threads = threads
        self.gates = gates_of()
        self.limits = Limits(breaker=None)
        self._made: Executor | None = None
        self.options: dict[str, Any] = {"handler_timeout": None, "retry_pause": None}

    @property
    def executor(self) -> Executor:
        if self._made is None:
            self.slots = Slots(10, loop_time)
            self.gates = gates_of("a", limits=self.limits)
            self._made = Executor(
                self.engine,
                "w",
                self.journal,
                gates=self.gates,
                threads=self.threads,
                processes=Processes(1),
                stopping=self.stopping,
                cut_off=self.cut_off,
                observer=self.events.append,
                clock=loop_time,
                random=Random(1),
                **self.options,
            )
        return self._made

    async def job(self, *, retries: int = 5, before: Fault = no_fault, after: Fault = no_fault) -> ClaimedJob:
        await self.engine.upload_definition(definition("a", retries=retries))
        await self.engine.start_instance("d", {"n": 1})
        [job] = await self.engine.poll_jobs("w", ["a"], 1)
        self.engine.before, self.engine.after = before, after
        return job

    def delivery(self, job: ClaimedJob, *, leased: bool = True) -> Delivery:
        lease = Lease(job, loop_time(), Grant(LEASE, LEASE)) if leased else None
        return Delivery(job, loop_time(), lease, self.verdicts.append)

    async def execute(self, job: ClaimedJob, function: Callable[[Job], Any], *, leased: bool = True) -> Delivery:
        delivery = self.delivery(job, leased=leased)
        await self.run(delivery, handler(function))
        return delivery

    async def run(self, delivery: Delivery, handler: Handler) -> None:
        """Execute a job on a slot."""
        executor = self.executor
        await self.slots.reserve(1)
        self.slots.occupy()
        place = Place(self.slots)
        await executor.execute(delivery, handler, self.gates["a"].enter(), place)
        place.vacate()


def handler(function: Callable[[Job], Any], timeout: float | None = None) -> Handler:
    async def in_loop(job: Job) -> Any:
        result = function(job)
        return await result if asyncio.iscoroutine(result) else result

    return Handler("a", in_loop, timeout, is_async=True)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ThreadPoolExecutor(1) as threads:
        yield Scene(threads)


def fails(_: Job) -> None:
    raise ValueError("boom")


def final(_: Job) -> None:
    raise NonRetryableError("never")


async def endless(_: Job) -> None:
    await asyncio.Event().wait()


async def test_a_job_emits_events_from_its_start_to_the_engines_answer(scene: Scene) -> None:
    async def a(job: Job) -> dict[str, object]:
        await asyncio.sleep(2)
        return {"n": job.variables["n"], "attempt": job.attempt, "deadline": job.deadline}

    job = await scene.job(after=lambda *_: 0.5)
    delivery = scene.delivery(job)
    await asyncio.sleep(3)
    await scene.run(delivery, handler(a))
    assert scene.events == [
        Started("a", 3, 3),
        Executed("a", "completed", 2, "", job.instance_id),
        Reported("a", "completed", "accepted", 0.5),
    ]
    assert scene.verdicts == ["accepted"]
    [instance] = scene.engine.state.instances.values()
    assert {name: instance.variables[name] for name in ("attempt", "deadline")} == {"attempt": 1, "deadline": LEASE - 1}
    assert delivery.lease is not None
    assert delivery.lease.handler_ended
    assert scene.engine.calls[-1][0] == "complete_job"


async def test_a_job_can_ask_for_its_instance_and_knows_its_names(scene: Scene) -> None:
    seen: list[Job] = []

    async def a(job: Job) -> None:
        seen.append(job)
        assert (await job.instance()).id == job.instance_id

    claimed = await scene.job()
    await scene.execute(claimed, a)
    [job] = seen
    assert (job.id, job.instance_id, job.step_execution_id, job.job_type, job.retries_remaining) == (
        claimed.id,
        claimed.instance_id,
        claimed.step_execution_id,
        "a",
        5,
    )


@pytest.mark.parametrize(
    ("error", "retries", "kind"),
    [
        (ValueError("boom"), 1, "failed_retryable"),
        (ValueError("boom"), 0, "failed_final"),
        (NonRetryableError("boom"), 5, "failed_final"),
    ],
)
async def test_a_failure_is_reported_with_its_kind_and_reason(
    scene: Scene, error: Exception, retries: int, kind: str
) -> None:
    def a(_: Job) -> None:
        raise error

    await scene.execute(await scene.job(retries=retries), a)
    [_, executed, reported] = scene.events
    assert isinstance(executed, Executed)
    assert isinstance(reported, Reported)
    assert (executed.outcome, executed.message) == (kind, f"{type(error).__name__}: boom")
    assert (reported.outcome, reported.verdict) == (kind, "accepted")


@pytest.mark.parametrize(("own", "default", "seconds"), [(5, 7, 5), (None, 7, 7), (None, None, LEASE - 1)])
async def test_a_handler_has_its_own_timeout_or_the_workers_or_the_lease(
    scene: Scene, own: float | None, default: float | None, seconds: float
) -> None:
    scene.options["handler_timeout"] = default
    job = await scene.job()
    await scene.run(scene.delivery(job), handler(endless, own))
    assert TimedOut("a") in scene.events
    assert loop_time() == seconds


@pytest.mark.parametrize("answered", [LEASE - 1, LEASE - 1.5])
async def test_a_job_whose_variables_come_too_late_is_not_started(scene: Scene, answered: float) -> None:
    job = await scene.job(after=lambda name, _: answered if name == "get_instance" else None)
    delivery = scene.delivery(replace(job, variables=None))
    await scene.run(delivery, handler(lambda _: None))
    started = any(isinstance(event, Started) for event in scene.events)
    assert started == (answered < LEASE - 1)
    assert (ClaimExpired("a") in scene.events) != started
    assert scene.verdicts == (["accepted"] if started else [])


async def test_a_job_without_a_lease_and_without_variables_is_not_started(scene: Scene) -> None:
    job = await scene.job(before=lambda name, _: NotFound("no") if name == "get_instance" else None)
    await scene.execute(replace(job, variables=None), endless, leased=False)
    assert scene.events == [ClaimExpired("a")]


@pytest.mark.parametrize("ours", [True, False])
async def test_a_job_without_a_lease_starts_only_while_it_is_ours(scene: Scene, ours: bool) -> None:
    """After it was taken, another job may have blocked the loop for minutes."""
    asked: list[float] = []

    async def answer() -> bool:
        asked.append(loop_time())
        await asyncio.sleep(2)
        return ours

    delivery = dataclasses.replace(scene.delivery(await scene.job(), leased=False), still_ours=answer)
    await scene.run(delivery, handler(lambda _: None))
    assert asked == [0]
    assert (Started("a", 2, 2) in scene.events) is ours
    assert scene.verdicts == ["accepted" if ours else "abandoned"]


async def test_nothing_is_sent_for_a_job_that_was_taken_away(scene: Scene, tmp_path: Path) -> None:
    scene.journal = Journal(tmp_path)
    delivery = scene.delivery(await scene.job())
    assert delivery.lease is not None
    executing = asyncio.create_task(scene.run(delivery, handler(endless)))
    await asyncio.sleep(1)
    delivery.lease.lose()
    await executing
    assert scene.events[-1] == Reported("a", "completed", "lost", 0.0)
    assert scene.engine.count("complete_job") == scene.engine.count("fail_job") == 0
    assert scene.verdicts == []
    scene.journal.close()
    again = Journal(tmp_path)
    assert len(again) == 0  # its end does not count as a crash
    again.close()


async def test_a_known_outcome_is_sent_without_a_run(scene: Scene, logged: list[MutableMapping[str, Any]]) -> None:
    job = await scene.job()
    scene.journal.keep(job, Completed({"x": 1}))
    await scene.execute(job, endless)
    assert scene.events == [Recalled("a"), Reported("a", "completed", "accepted", 0)]
    assert len(scene.journal) == 0
    [line] = logged
    assert (line["job_id"], line["job_type"], line["instance_id"], line["outcome"]) == (
        job.id,
        "a",
        job.instance_id,
        "completed",
    )


async def test_an_outcome_is_in_the_journal_before_it_is_sent(scene: Scene, tmp_path: Path) -> None:
    scene.journal = Journal(tmp_path)
    noted: list[bool] = []

    def on_complete(name: str, _: int) -> None:
        if name == "complete_job":
            noted.append(scene.journal.recall(job) == Completed({"x": 1}))

    job = await scene.job(before=on_complete)
    await scene.execute(job, lambda _: {"x": 1})
    assert noted == [True]
    assert len(scene.journal) == 0
    scene.journal.close()


@pytest.mark.parametrize(("leased", "left"), [(True, 0), (False, 1)])
async def test_without_a_lease_the_source_makes_the_journal_forget(
    scene: Scene, tmp_path: Path, leased: bool, left: int
) -> None:
    scene.journal = Journal(tmp_path)
    await scene.execute(await scene.job(), lambda _: None, leased=leased)
    assert len(scene.journal) == left
    scene.journal.close()


async def test_an_answer_after_the_lease_is_late_and_its_outcome_is_kept(scene: Scene) -> None:
    job = await scene.job(
        before=lambda name, _: None if name == "complete_job" else Unreachable("so nothing proves it"),
        after=lambda *_: LEASE,
    )
    await scene.execute(job, lambda _: {"x": 1})
    assert scene.verdicts == ["late"]
    assert scene.journal.recall(job) == Completed({"x": 1})


async def test_a_result_that_violates_the_schema_has_failed_the_job_already(scene: Scene) -> None:
    job = await scene.job(before=lambda *_: SchemaViolation("schema violation: x"))
    await scene.execute(job, lambda _: {"x": 1})
    assert scene.events[-1] == Reported("a", "failed_final", "refused", 0)
    assert scene.verdicts == ["refused"]
    assert scene.engine.count("fail_job") == 0


async def test_a_job_whose_result_is_rejected_is_failed_permanently(scene: Scene) -> None:
    job = await scene.job(before=lambda name, _: Rejected("too odd") if name == "complete_job" else None)
    await scene.execute(job, lambda _: {"x": 1})
    assert scene.events[-1] == Reported("a", "failed_final", "accepted", 0)
    [instance] = scene.engine.state.instances.values()
    assert instance.failure_reason == "the engine refuses the result: too odd"
    assert scene.verdicts == ["accepted"]


async def test_a_rejected_result_is_replaced_in_the_journal_before_the_fail_is_sent(
    scene: Scene, tmp_path: Path
) -> None:
    scene.journal = Journal(tmp_path)
    noted: list[object] = []

    def spoil(name: str, _: int) -> Exception | None:
        if name == "fail_job":
            noted.append(scene.journal.recall(job))
        return Rejected("too odd") if name == "complete_job" else None

    job = await scene.job(before=spoil)
    await scene.execute(job, lambda _: {"x": 1})
    assert noted == [Failed("the engine refuses the result: too odd", retryable=False)]
    scene.journal.close()


async def test_each_retry_of_an_outcome_emits_an_event(scene: Scene) -> None:
    job = await scene.job(before=lambda _, number: Unreachable("away") if number < 2 else None)
    await scene.execute(job, lambda _: None)
    assert scene.events.count(OutcomeRetried("a")) == 2
    assert scene.verdicts == ["accepted"]


async def test_while_a_fail_is_in_flight_its_key_is_failing(scene: Scene) -> None:
    job = await scene.job(after=lambda *_: 1.0)
    executing = asyncio.create_task(scene.execute(job, fails))
    await asyncio.sleep(0.5)
    assert scene.executor.failing == {job.key}
    await executing
    assert scene.executor.failing == set()


async def test_while_a_complete_is_in_flight_nothing_is_failing(scene: Scene) -> None:
    executing = asyncio.create_task(scene.execute(await scene.job(after=lambda *_: 1.0), lambda _: None))
    await asyncio.sleep(0.5)
    assert scene.executor.failing == set()
    await executing


def failed_again(scene: Scene, job: ClaimedJob, times: int) -> None:
    for _ in range(times):
        scene.executor._attempts.failed(job.key)


@pytest.mark.parametrize(("before", "pause"), [(0, 1), (1, 2), (3, 8), (5, MAX_RETRY_PAUSE), (5000, MAX_RETRY_PAUSE)])
async def test_the_pause_before_a_retry_doubles_up_to_half_a_minute(scene: Scene, before: int, pause: float) -> None:
    scene.options["retry_pause"] = 1.0
    job = await scene.job()
    failed_again(scene, job, before)
    await scene.execute(job, fails, leased=False)
    assert scene.engine.times("fail_job") == [pytest.approx(pause)]


@pytest.mark.parametrize("retry_pause", [None, 1.0])
@pytest.mark.parametrize(("before", "pause"), [(0, 2), (1, 6), (3, 54), (4, 60), (5000, 60)])
async def test_a_handler_may_have_pauses_of_its_own(
    scene: Scene, before: int, pause: float, retry_pause: float | None
) -> None:
    scene.options["retry_pause"] = retry_pause
    job = await scene.job()
    failed_again(scene, job, before)
    own = dataclasses.replace(handler(fails), retry=Backoff(first=2, factor=3, most=60))
    await scene.run(scene.delivery(job, leased=False), own)
    assert scene.engine.times("fail_job") == [pytest.approx(pause)]


async def test_the_pause_before_a_retry_ends_with_the_lease(scene: Scene) -> None:
    """Past it, the engine would redeliver the job, and the Fail could spend a retry of that run."""
    scene.options["retry_pause"] = 100.0
    await scene.execute(await scene.job(), fails)
    assert scene.engine.times("fail_job") == [pytest.approx(LEASE - 1)]


async def test_a_renewed_lease_lets_the_pause_go_on(scene: Scene) -> None:
    scene.options["retry_pause"] = 100.0
    delivery = scene.delivery(await scene.job())
    assert delivery.lease is not None
    executing = asyncio.create_task(scene.run(delivery, handler(fails)))
    await asyncio.sleep(10)
    delivery.lease.adopt(Lease(delivery.job, 10, Grant(LEASE, LEASE)))
    await executing
    assert scene.engine.times("fail_job") == [pytest.approx(MAX_RETRY_PAUSE)]


async def test_a_stop_ends_the_pause_before_a_retry(scene: Scene) -> None:
    scene.options["retry_pause"] = 20.0
    executing = asyncio.create_task(scene.execute(await scene.job(), fails))
    await asyncio.sleep(3)
    scene.stopping.set()
    await executing
    assert scene.engine.times("fail_job") == [3]


@pytest.mark.parametrize("retries", [0, 5])
async def test_only_a_failure_that_will_be_retried_is_held_back(scene: Scene, retries: int) -> None:
    scene.options["retry_pause"] = 5.0
    await scene.execute(await scene.job(retries=retries), fails)
    assert scene.engine.times("fail_job") == [5 if retries else 0]


async def test_runs_of_a_job_are_counted_until_it_has_ended(scene: Scene) -> None:
    attempts: list[int] = []

    def a(job: Job) -> None:
        attempts.append(job.attempt)
        if len(attempts) in {1, 2, 4}:
            raise ValueError("boom")

    job = await scene.job(retries=3)
    for _ in range(5):
        await scene.execute(job, a, leased=False)
    assert attempts == [1, 2, 3, 1, 2]


async def test_a_late_failure_is_no_attempt_to_count_twice(scene: Scene) -> None:
    job = await scene.job(after=lambda name, _: LEASE if name == "fail_job" else None)
    await scene.execute(job, fails)
    assert scene.verdicts == ["late"]
    assert scene.executor._attempts.next(job.key) == 1


async def test_suspects_run_one_at_a_time(scene: Scene, tmp_path: Path) -> None:
    for _ in range(2):
        journal = KillableJournal(tmp_path)
        for key in ("k1", "k2"):
            journal.started(ClaimedJob(id=key, instance_id="i", job_type="a", step_execution_id=key))
        journal.kill()
    scene.journal = Journal(tmp_path)
    at_once: list[str] = []

    async def a(job: Job) -> None:
        at_once.append(job.id)
        await asyncio.sleep(1)
        assert at_once.pop() == job.id
        assert at_once == []

    jobs = [
        ClaimedJob(id=key, instance_id="i", job_type="a", step_execution_id=key, variables={}) for key in ("k1", "k2")
    ]
    await asyncio.gather(*(scene.execute(job, a, leased=False) for job in jobs))
    assert [event.outcome for event in scene.events if isinstance(event, Executed)] == ["completed", "completed"]
    scene.journal.close()


async def test_the_lease_is_renewed_until_the_engine_has_accepted_the_outcome_and_no_longer(scene: Scene) -> None:
    job = await scene.job(before=lambda name, _: 25.0 if name == "complete_job" else None)
    renewing = asyncio.create_task(scene.executor.renewals.run())
    await scene.execute(job, lambda _: None)
    renewals = scene.engine.times("extend_lease")
    await asyncio.sleep(100)
    assert renewals == [10, 20]
    assert scene.engine.times("extend_lease") == renewals
    renewing.cancel()


async def test_a_run_past_a_lease_that_cannot_be_renewed_counts_as_an_overrun(scene: Scene) -> None:
    job = await scene.job()
    scene.engine.state.heartbeat = False
    renewing = asyncio.create_task(scene.executor.renewals.run())

    async def heedless(_: Job) -> None:
        ends_at = loop_time() + LEASE + 5
        while loop_time() < ends_at:
            try:
                await asyncio.sleep(ends_at - loop_time())
            except asyncio.CancelledError:
                continue

    executing = asyncio.create_task(scene.execute(job, heedless))
    await asyncio.sleep(LEASE + 1)
    assert Overran("a") in scene.events
    assert len(scene.journal) == 1
    await executing
    renewing.cancel()


@pytest.mark.parametrize(("began_after", "spent"), [(0, 1), (9, 1), (11, 0), (28.93, 0)])
async def test_a_run_cut_short_by_a_lease_that_it_had_little_of_spends_no_retry(
    scene: Scene, began_after: float, spent: int
) -> None:
    delivery = scene.delivery(await scene.job(retries=5))
    await asyncio.sleep(began_after)
    await scene.run(delivery, handler(endless))
    assert loop_time() == LEASE - MARGIN
    assert scene.verdicts == (["accepted"] if spent else ["abandoned"])
    assert scene.events[-1] == Reported("a", "failed_retryable", scene.verdicts[0], 0)
    assert scene.engine.retries_remaining() == 5 - spent


async def test_a_timeout_or_a_failure_late_in_a_lease_spends_a_retry(scene: Scene) -> None:
    for began_after, function, timeout in ((20, endless, 5), (20, fails, None), (28, final, None)):
        delivery = scene.delivery(await scene.job())
        await asyncio.sleep(began_after)
        await scene.run(delivery, handler(function, timeout))
    assert scene.verdicts == ["accepted"] * 3


async def test_a_sync_handler_that_ends_because_its_lease_does_is_cut_short_too(scene: Scene) -> None:
    def a(job: Job) -> None:
        assert job._cancelled.wait(60)
        raise ValueError("cancelled")

    delivery = scene.delivery(await scene.job())
    await asyncio.sleep(LEASE - MARGIN - 0.1)
    await scene.run(delivery, Handler("a", a, None, is_async=False))
    assert scene.verdicts == ["abandoned"]


async def test_an_outcome_decided_before_a_crash_is_sent_again(scene: Scene) -> None:
    job = await scene.job(
        before=lambda *call: Unreachable("away") if call == ("complete_job", 0) else None, after=lambda *_: 0.5
    )
    scene.journal.keep(job, Completed({"x": 1}))
    await scene.executor.report_unconfirmed(job, Completed({"x": 1}))
    assert OutcomeRetried("a") in scene.events
    reported = scene.events[-1]
    assert isinstance(reported, Reported)
    assert (reported.outcome, reported.verdict) == ("completed", "accepted")
    assert reported.seconds == pytest.approx(loop_time())
    assert len(scene.journal) == 0


async def test_a_recovered_outcome_that_the_engine_refuses_is_forgotten(scene: Scene) -> None:
    job = await scene.job(before=lambda *_: Rejected("too odd"))
    scene.journal.keep(job, Completed({"x": 1}))
    await scene.executor.report_unconfirmed(job, Completed({"x": 1}))
    assert scene.events == [Reported("a", "completed", "refused", 0)]
    assert len(scene.journal) == 0


async def test_the_time_in_the_queue_counts_from_the_claim(scene: Scene) -> None:
    job = await scene.job()
    await asyncio.sleep(2)
    delivery = scene.delivery(job)
    await asyncio.sleep(3)
    await scene.run(delivery, handler(lambda _: None))
    assert scene.events[0] == Started("a", 3, 3)


async def test_a_run_is_in_the_journal_until_it_has_ended(scene: Scene, tmp_path: Path) -> None:
    journal = scene.journal = KillableJournal(tmp_path)
    delivery = scene.delivery(await scene.job())
    executing = asyncio.create_task(scene.run(delivery, handler(endless)))
    await asyncio.sleep(1)
    assert len(journal) == 1
    assert delivery.lease is not None
    delivery.lease.lose()
    await executing
    journal.kill()
    again = Journal(tmp_path)
    assert len(again) == 0
    again.close()


async def test_jobs_that_are_no_suspects_run_in_parallel(scene: Scene) -> None:
    jobs = [
        ClaimedJob(id=key, instance_id="i", job_type="a", step_execution_id=key, variables={}) for key in ("k1", "k2")
    ]
    await asyncio.gather(*(scene.execute(job, lambda _: asyncio.sleep(5), leased=False) for job in jobs))
    assert [event.seconds for event in scene.events if isinstance(event, Executed)] == [5, 5]
    assert loop_time() == 5


async def test_an_outcome_whose_lease_is_lost_while_it_is_reported_is_kept(scene: Scene) -> None:
    job = await scene.job(before=lambda *_: Unreachable("away"))
    delivery = scene.delivery(job)
    executing = asyncio.create_task(scene.run(delivery, handler(lambda _: {"x": 1})))
    await asyncio.sleep(1)
    assert delivery.lease is not None
    delivery.lease.lose()
    await executing
    assert scene.verdicts == ["lost"]
    assert scene.journal.recall(job) == Completed({"x": 1})


async def test_variables_that_cannot_be_read_are_given_up_before_the_lease_ends(scene: Scene) -> None:
    job = await scene.job(before=lambda name, _: Unreachable("away") if name == "get_instance" else None)
    await scene.execute(replace(job, variables=None), endless)
    assert scene.events == [ClaimExpired("a")]
    assert loop_time() < LEASE


async def test_outcomes_that_do_not_get_through_are_a_problem_of_the_executor(scene: Scene) -> None:
    job = await scene.job(before=lambda *_: Unreachable("away") if loop_time() < 20 else None)
    executing = asyncio.create_task(scene.execute(job, lambda _: None))
    await asyncio.sleep(10)
    assert scene.executor.problem == ("EngineUnreachable", "away")
    await executing
    assert scene.executor.problem is None


def test_the_oldest_of_more_than_ten_thousand_counted_jobs_is_forgotten() -> None:
    attempts = Attempts()
    for number in range(10_001):
        attempts.failed(str(number))
    assert [attempts.next(str(number)) for number in (0, 1, 10_000)] == [1, 2, 2]


async def test_the_time_to_report_a_recovered_outcome_counts_from_its_first_try(scene: Scene) -> None:
    job = await scene.job(after=lambda *_: 0.5)
    await asyncio.sleep(3)
    await scene.executor.report_unconfirmed(job, Completed({"x": 1}))
    assert scene.events == [Reported("a", "completed", "accepted", 0.5 + 0.5)]  # the Complete, and the history


@pytest.mark.parametrize(
    ("error", "verdict", "attempt"), [(NotFound("no"), "refused", 1), (AnswerLost(""), "abandoned", 2)]
)
async def test_runs_are_counted_until_the_engine_has_decided(
    scene: Scene, error: Exception, verdict: Verdict, attempt: int
) -> None:
    def never(_: Job) -> None:
        raise NonRetryableError("never")

    job = await scene.job(before=lambda *_: error)
    failed_again(scene, job, 1)
    await scene.execute(job, never)
    assert scene.verdicts == [verdict]
    assert scene.executor._attempts.next(job.key) == attempt
