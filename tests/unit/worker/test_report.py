"""What is sent again and what never is, on a virtual clock."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from rochallor_worker.errors import AnswerLost, Conflict, EngineError, InternalError, NotFound, Rejected, Unreachable
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.report import FAIL_TRAVEL, RETRY_CAP, SETTLE_WAIT, TROUBLE_AFTER, Reporter
from rochallor_worker.source.base import Verdict
from unit.worker.engines import Fault, FaultyEngine, definition, loop_time

pytestmark = pytest.mark.looptime

LEASE_END = 30.0


async def engine_with_a_job(
    before: Fault = lambda *_: None, after: Fault = lambda *_: None
) -> tuple[FaultyEngine, str]:
    engine = FaultyEngine()
    await engine.upload_definition(definition("a", retries=5))
    await engine.start_instance("d")
    [job] = await engine.poll_jobs("w", ["a"], 1)
    engine.before, engine.after = before, after
    return engine, job.id


async def deliver(
    engine: FaultyEngine,
    job_id: str,
    outcome: Outcome,
    retries: list[str] | None = None,
    lease_end: float | None = LEASE_END,
) -> Verdict:
    counted = retries if retries is not None else []
    reporter = Reporter(engine, "w", loop_time, Random(1))
    return await reporter.deliver(job_id, outcome, lease_end, lambda: counted.append("retry"))


@pytest.mark.parametrize("error", [Unreachable("refused"), InternalError("500"), AnswerLost("timeout")], ids=repr)
async def test_a_complete_is_sent_until_it_gets_through(error: EngineError) -> None:
    retries: list[str] = []
    engine, job_id = await engine_with_a_job(before=lambda _, number: error if number < 20 else None)
    assert await deliver(engine, job_id, Completed({"x": 1}), retries) == "accepted"
    assert engine.count("complete_job") == 21
    assert len(retries) == 20
    assert engine.count("fail_job") == 0
    gaps = [b - a for a, b in pairwise(engine.times("complete_job"))]
    assert max(gaps) <= RETRY_CAP + SETTLE_WAIT


async def test_after_a_lost_answer_the_engine_gets_a_moment_before_the_next_try() -> None:
    engine, job_id = await engine_with_a_job(after=lambda _, number: AnswerLost("timeout") if number == 0 else None)
    assert await deliver(engine, job_id, Completed({})) == "accepted"
    first, second = engine.times("complete_job")
    assert second - first >= SETTLE_WAIT


@pytest.mark.parametrize("error", [NotFound("no job"), Conflict("409")], ids=repr)
async def test_a_refused_complete_is_final_and_never_becomes_a_fail(error: EngineError) -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: error)
    assert await deliver(engine, job_id, Completed({})) == "refused"
    assert engine.count("complete_job") == 1
    assert engine.count("fail_job") == 0


async def test_a_complete_that_is_refused_for_what_it_holds_is_told() -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: Rejected("413"))
    with pytest.raises(Rejected):
        await deliver(engine, job_id, Completed({}))
    assert engine.count("complete_job") == 1


async def test_a_complete_ends_with_its_task() -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: Unreachable("refused"))
    task = asyncio.create_task(deliver(engine, job_id, Completed({})))
    await asyncio.sleep(1000)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_fail_that_did_not_reach_the_engine_is_sent_again() -> None:
    engine, job_id = await engine_with_a_job(before=lambda _, number: Unreachable("refused") if number < 3 else None)
    assert await deliver(engine, job_id, Failed("boom", retryable=True)) == "accepted"
    assert engine.state.jobs[job_id].retries_remaining == 4


@pytest.mark.parametrize("error", [AnswerLost("timeout"), InternalError("500")], ids=repr)
async def test_a_fail_that_may_have_arrived_is_never_sent_again(error: EngineError) -> None:
    engine, job_id = await engine_with_a_job(after=lambda *_: error)
    assert await deliver(engine, job_id, Failed("boom", retryable=True)) == "abandoned"
    assert engine.state.jobs[job_id].retries_remaining == 4


@pytest.mark.parametrize("error", [NotFound("no job"), Rejected("400")], ids=repr)
async def test_a_refused_fail_is_final(error: EngineError) -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: error)
    assert await deliver(engine, job_id, Failed("boom", retryable=True)) == "refused"


async def test_no_fail_is_sent_after_the_lease() -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: Unreachable("refused"))
    assert await deliver(engine, job_id, Failed("boom", retryable=True)) == "abandoned"
    assert max(engine.times("fail_job")) < LEASE_END - FAIL_TRAVEL
    assert loop_time() < LEASE_END + RETRY_CAP


@pytest.mark.parametrize("error", [Unreachable("refused"), AnswerLost("timeout"), InternalError("500")], ids=repr)
async def test_without_a_lease_a_fail_is_sent_until_it_gets_through(error: EngineError) -> None:
    engine, job_id = await engine_with_a_job(before=lambda _, number: error if number < 50 else None)
    assert await deliver(engine, job_id, Failed("boom", retryable=True), lease_end=None) == "accepted"
    assert engine.count("fail_job") == 51
    assert engine.state.jobs[job_id].retries_remaining == 4


async def test_without_a_lease_no_fail_is_sent_once_the_job_is_another_workers() -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: Unreachable("refused"))
    reporter = Reporter(engine, "w", loop_time, Random(1))

    async def ours() -> bool:
        return engine.count("fail_job") < 3

    failed = Failed("boom", retryable=True)
    assert await reporter.deliver(job_id, failed, None, lambda: None, ours) == "abandoned"
    assert engine.count("fail_job") == 3


async def test_outcomes_that_do_not_get_through_are_trouble_once_that_lasts() -> None:
    away = Unreachable("CompleteJob: cannot connect")
    engine, job_id = await engine_with_a_job(before=lambda *_: away if loop_time() < 20 else None)
    reporter = Reporter(engine, "w", loop_time, Random(1))
    delivery = asyncio.create_task(reporter.deliver(job_id, Completed({}), None, lambda: None))
    seen = []
    for wait in (TROUBLE_AFTER - 0.5, 1):
        await asyncio.sleep(wait)
        seen.append(reporter.trouble)
    assert await delivery == "accepted"
    assert [*seen, reporter.trouble] == [None, ("EngineUnreachable", "CompleteJob: cannot connect"), None]


async def test_one_outcome_that_fails_among_many_that_pass_is_no_trouble() -> None:
    engine, job_id = await engine_with_a_job(before=lambda *_: InternalError("500"))
    reporter = Reporter(engine, "w", loop_time, Random(1))
    delivery = asyncio.create_task(reporter.deliver(job_id, Completed({}), None, lambda: None))
    for _ in range(20):
        await asyncio.sleep(1)
        engine.before = lambda *_: None
        await reporter.deliver("another", Failed("x", retryable=True), None, lambda: None)
        engine.before = lambda *_: InternalError("500")
        assert reporter.trouble is None
    delivery.cancel()
