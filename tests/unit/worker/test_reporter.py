"""What is sent again and what never is, on a virtual clock."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import AnswerLost, Conflict, EngineError, InternalError, NotFound, Rejected, Unreachable
from rochallor_worker.events import Verdict
from rochallor_worker.execution.lease import FIXED_LENGTH, Grant, Lease
from rochallor_worker.execution.reporter import (
    FAIL_MARGIN,
    LOST_ANSWER_WAIT,
    PROBLEM_AFTER,
    REFUSED_AFTER,
    RETRY_CAP,
    Reporter,
)
from rochallor_worker.outcome import Completed, Failed, Outcome
from unit.worker.engines import Fault, FaultyEngine, definition, loop_time

pytestmark = pytest.mark.looptime

LEASE_END = 30.0
GRANT = Grant(FIXED_LENGTH, FIXED_LENGTH)


async def engine_with_a_job(
    before: Fault = lambda *_: None, after: Fault = lambda *_: None
) -> tuple[FaultyEngine, ClaimedJob]:
    engine = FaultyEngine()
    await engine.upload_definition(definition("a", retries=5))
    await engine.start_instance("d")
    [job] = await engine.poll_jobs("w", ["a"], 1)
    engine.before, engine.after = before, after
    return engine, job


async def engine_with_a_dispatched_job(before: Fault) -> tuple[FaultyEngine, ClaimedJob]:
    """A job as it comes over Kafka, without a lease."""
    engine = FaultyEngine(before=before)
    engine.state.dispatch_mode = "kafka_outbox"
    await engine.upload_definition(definition("a", retries=5))
    await engine.start_instance("d")
    [job] = engine.state.jobs.values()
    return engine, ClaimedJob(id=job.id, instance_id=job.instance.id, job_type="a", step_execution_id=job.execution.id)


async def report(
    engine: FaultyEngine,
    job: ClaimedJob,
    outcome: Outcome,
    retries: list[str] | None = None,
    *,
    leased: bool = True,
) -> Verdict:
    counted = retries if retries is not None else []
    reporter = Reporter(engine, "w", loop_time, Random(1))
    lease = Lease(job, 0.0, GRANT) if leased else None
    return await reporter.report(job, outcome, lease, lambda: counted.append("retry"))


async def test_an_outage_is_logged_once_a_minute(logged: list[dict[str, object]]) -> None:
    """Over Kafka there are no polls whose errors could show it."""
    engine, job = await engine_with_a_dispatched_job(
        before=lambda name, _: Unreachable("refused") if name == "complete_job" and loop_time() < 200 else None
    )
    assert await report(engine, job, Completed({}), leased=False) == "accepted"
    warnings = [line for line in logged if line["log_level"] == "warning"]
    assert [line["error"] for line in warnings] == ["refused"] * 4


@pytest.mark.parametrize("error", [Unreachable("refused"), InternalError("500"), AnswerLost("timeout")], ids=repr)
async def test_a_complete_is_sent_until_it_gets_through(error: EngineError) -> None:
    retries: list[str] = []
    engine, job = await engine_with_a_job(before=lambda _, number: error if number < 20 else None)
    assert await report(engine, job, Completed({"x": 1}), retries) == "accepted"
    assert engine.count("complete_job") == 21
    assert len(retries) == 20
    assert engine.count("fail_job") == 0
    gaps = [b - a for a, b in pairwise(engine.times("complete_job"))]
    assert max(gaps) <= RETRY_CAP + LOST_ANSWER_WAIT


async def test_after_a_lost_answer_there_is_a_pause_before_the_next_try() -> None:
    engine, job = await engine_with_a_job(after=lambda _, number: AnswerLost("timeout") if number == 0 else None)
    assert await report(engine, job, Completed({})) == "accepted"
    first, second = engine.times("complete_job")
    assert second - first >= LOST_ANSWER_WAIT


@pytest.mark.parametrize("error", [NotFound("no job"), Conflict("409")], ids=repr)
async def test_a_refused_complete_is_final_and_never_becomes_a_fail(error: EngineError) -> None:
    engine, job = await engine_with_a_job(before=lambda *_: error)
    assert await report(engine, job, Completed({})) == "refused"
    assert engine.count("complete_job") == 1
    assert engine.count("fail_job") == 0


async def test_a_complete_that_is_refused_for_its_content_raises() -> None:
    engine, job = await engine_with_a_job(before=lambda *_: Rejected("413"))
    with pytest.raises(Rejected):
        await report(engine, job, Completed({}))
    assert engine.count("complete_job") == 1


async def test_a_complete_ends_with_its_task() -> None:
    engine, job = await engine_with_a_job(before=lambda *_: Unreachable("refused"))
    task = asyncio.create_task(report(engine, job, Completed({})))
    await asyncio.sleep(1000)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_fail_that_did_not_reach_the_engine_is_sent_again() -> None:
    engine, job = await engine_with_a_job(before=lambda _, number: Unreachable("refused") if number < 3 else None)
    assert await report(engine, job, Failed("boom", retryable=True)) == "accepted"
    assert engine.retries_remaining() == 4


@pytest.mark.parametrize("error", [AnswerLost("timeout"), InternalError("500")], ids=repr)
async def test_a_fail_that_may_have_arrived_is_never_sent_again(error: EngineError) -> None:
    engine, job = await engine_with_a_job(after=lambda *_: error)
    assert await report(engine, job, Failed("boom", retryable=True)) == "abandoned"
    assert engine.retries_remaining() == 4


@pytest.mark.parametrize("error", [NotFound("no job"), Rejected("400")], ids=repr)
async def test_a_refused_fail_is_final(error: EngineError) -> None:
    engine, job = await engine_with_a_job(before=lambda *_: error)
    assert await report(engine, job, Failed("boom", retryable=True)) == "refused"


async def test_no_fail_is_sent_after_the_lease() -> None:
    engine, job = await engine_with_a_job(before=lambda *_: Unreachable("refused"))
    assert await report(engine, job, Failed("boom", retryable=True)) == "abandoned"
    assert max(engine.times("fail_job")) < LEASE_END - FAIL_MARGIN
    assert loop_time() < LEASE_END + RETRY_CAP


@pytest.mark.parametrize("error", [Unreachable("refused"), AnswerLost("timeout"), InternalError("500")], ids=repr)
async def test_without_a_lease_a_fail_is_sent_until_it_gets_through(error: EngineError) -> None:
    engine, job = await engine_with_a_dispatched_job(
        before=lambda name, n: error if name == "fail_job" and n < 50 else None
    )
    assert await report(engine, job, Failed("boom", retryable=True), leased=False) == "accepted"
    assert engine.count("fail_job") == 51
    assert engine.retries_remaining() == 4


async def test_without_a_lease_no_fail_is_sent_once_the_job_is_another_workers() -> None:
    engine, job = await engine_with_a_job(before=lambda *_: Unreachable("refused"))
    reporter = Reporter(engine, "w", loop_time, Random(1))

    async def still_ours() -> bool:
        return engine.count("fail_job") < 3

    failed = Failed("boom", retryable=True)
    assert await reporter.report(job, failed, None, lambda: None, still_ours) == "abandoned"
    assert engine.count("fail_job") == 3


async def test_outcomes_that_do_not_get_through_are_a_problem_once_that_lasts() -> None:
    away = Unreachable("CompleteJob: cannot connect")
    engine, job = await engine_with_a_job(before=lambda *_: away if loop_time() < 20 else None)
    reporter = Reporter(engine, "w", loop_time, Random(1))
    reporting = asyncio.create_task(reporter.report(job, Completed({}), None, lambda: None))
    seen = []
    for wait in (PROBLEM_AFTER - 0.5, 1):
        await asyncio.sleep(wait)
        seen.append(reporter.problem)
    assert await reporting == "accepted"
    assert [*seen, reporter.problem] == [None, ("EngineUnreachable", "CompleteJob: cannot connect"), None]


async def test_one_outcome_that_fails_among_many_that_pass_is_no_problem() -> None:
    engine, job = await engine_with_a_job(before=lambda *_: InternalError("500"))
    reporter = Reporter(engine, "w", loop_time, Random(1))
    reporting = asyncio.create_task(reporter.report(job, Completed({}), None, lambda: None))
    another = ClaimedJob(id="another", instance_id="i", job_type="a")
    for _ in range(20):
        await asyncio.sleep(1)
        engine.before = lambda *_: None
        await reporter.report(another, Failed("x", retryable=True), None, lambda: None)
        engine.before = lambda *_: InternalError("500")
        assert reporter.problem is None
    reporting.cancel()


async def test_an_answer_after_the_leases_end_proves_nothing_and_the_history_is_read() -> None:
    """A fenced engine acknowledges a late Complete and drops it (engine.md)."""
    engine, job = await engine_with_a_job(before=lambda *_: Unreachable("away") if loop_time() < 40 else None)
    assert await report(engine, job, Completed({})) == "late"
    assert engine.count("get_instance_history") == 1


async def test_a_late_complete_that_is_in_the_history_is_accepted() -> None:
    engine, job = await engine_with_a_job(after=lambda name, _: 35.0 if name == "complete_job" else None)
    assert await report(engine, job, Completed({})) == "accepted"
    assert engine.count("complete_job") == 1


async def test_a_late_complete_is_late_when_the_history_cannot_be_read() -> None:
    def away(name: str, _: int) -> Exception | None:
        return Unreachable("away") if loop_time() < 40 or name == "get_instance_history" else None

    engine, job = await engine_with_a_job(before=away)
    assert await report(engine, job, Completed({})) == "late"


async def test_an_outcome_goes_to_the_id_claimed_last() -> None:
    engine, job = await engine_with_a_job(before=lambda name, _: Unreachable("x") if loop_time() < 50 else None)
    lease = Lease(job, 0.0, GRANT)
    reporter = Reporter(engine, "w", loop_time, Random(1))
    delivering = asyncio.create_task(reporter.report(job, Completed({}), lease, lambda: None))
    await asyncio.sleep(45)
    engine.state.sweep()
    await asyncio.sleep(6)
    engine.before = lambda *_: None
    [newer] = await engine.poll_jobs("w", ["a"], 1)
    lease.adopt(Lease(newer, loop_time(), GRANT))
    assert await delivering == "accepted"
    assert newer.id != job.id
    assert engine.state.jobs[newer.id].status == "COMPLETED"


async def test_nothing_is_sent_once_the_lease_is_lost() -> None:
    engine, job = await engine_with_a_job()
    lease = Lease(job, 0.0, GRANT)
    lease.lose()
    reporter = Reporter(engine, "w", loop_time, Random(1))
    assert await reporter.report(job, Completed({}), lease, lambda: None) == "lost"
    assert engine.count("complete_job") == 0


def cannot_store(name: str, _: int) -> Exception | None:
    return InternalError("500 cannot store") if name == "complete_job" else None


@pytest.mark.parametrize("others", [True, False], ids=["others get through", "nothing gets through"])
async def test_a_result_that_the_engine_can_never_store_is_refused_in_the_end(others: bool) -> None:
    engine, job = await engine_with_a_job(before=cannot_store)
    reporter = Reporter(engine, "w", loop_time, Random(1))

    async def pass_others() -> None:
        while others:
            await asyncio.sleep(10)
            other = ClaimedJob(id=job.id, instance_id="i", job_type="a")
            engine.before = lambda *_: NotFound("no such job")
            await reporter.report(other, Failed("x", retryable=True), None, lambda: None)
            engine.before = cannot_store

    passing = asyncio.create_task(pass_others())
    with pytest.raises(Rejected, match="it was answered with errors for"):
        await reporter.report(job, Completed({}), None, lambda: None)
    assert loop_time() == pytest.approx(REFUSED_AFTER if others else 3 * REFUSED_AFTER, abs=3)
    passing.cancel()


async def test_an_outage_is_no_reason_to_refuse_a_result() -> None:
    def away(name: str, _: int) -> Exception | None:
        if loop_time() > 2_000:
            return None
        return InternalError("503") if name == "complete_job" else Unreachable("away")

    engine, job = await engine_with_a_dispatched_job(lambda *_: None)
    engine.before = away
    assert await report(engine, job, Completed({}), leased=False) == "accepted"
