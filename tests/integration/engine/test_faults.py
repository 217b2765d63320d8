"""The dev engine's faults, and the effect of each on a call over every transport."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

from integration.engine.clients import (
    BOTH_GENERATIONS,
    ORDER,
    TIMEOUT,
    TRANSPORTS,
    Transport,
    Under,
    client,
    connected,
)
from rochallor_worker.devengine import DevEngine, Fault
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine.client import ClaimedJob, EngineClient
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, NotFound, Unreachable
from waiting import until


@pytest.fixture
async def job(under: Under) -> ClaimedJob:
    """A claimed job with one retry."""
    await under.client.start_instance("order")
    [claimed] = await under.client.poll_jobs("w", ["pick"], 1)
    return claimed


def events(under: Under) -> list[str]:
    return [event.kind for event in under.state.log]


async def test_a_lost_answer(under: Under, job: ClaimedJob) -> None:
    under.faults.next("complete_job", Fault(answer="lost"))
    with pytest.raises(AnswerLost):
        await under.client.complete_job(job.id, "w", {})
    assert events(under) == ["claim", "complete"]
    await under.client.complete_job(job.id, "w", {})


async def test_a_lost_request(under: Under, job: ClaimedJob) -> None:
    under.faults.next("fail_job", Fault(times=0))
    with pytest.raises(AnswerLost):
        await under.client.fail_job(job.id, "w", "boom", retryable=True)
    assert events(under) == ["claim"]


@pytest.mark.parametrize("times", [0, 1])
async def test_an_error_before_and_after(under: Under, job: ClaimedJob, times: int) -> None:
    under.faults.next("complete_job", Fault(times=times, answer="error"))
    with pytest.raises(InternalError):
        await under.client.complete_job(job.id, "w", {})
    assert events(under) == ["claim", "complete"][: 1 + times]


@BOTH_GENERATIONS
async def test_a_duplicate_fail_spends_two_retries_unless_it_is_fenced(
    under: Under, job: ClaimedJob, generation: Generation
) -> None:
    under.faults.next("fail_job", Fault(times=2))
    await under.client.fail_job(job.id, "w", "boom", retryable=True)
    status = (await under.client.get_instance(job.instance_id)).status
    if generation == "A":
        assert status == "FAILED"
        return
    assert status == "ACTIVE"
    [again] = await under.client.poll_jobs("w", ["pick"], 10)
    assert (again.key, again.retries_remaining) == (job.key, 0)


async def test_a_call_with_a_fault_is_still_answered_by_the_engines_refusal(under: Under) -> None:
    under.faults.next("complete_job", Fault(delay_after=0.01), Fault(answer="lost"))
    with pytest.raises(NotFound):
        await under.client.complete_job("nope", "w", {})
    with pytest.raises(AnswerLost):
        await under.client.complete_job("nope", "w", {})


async def test_delays(under: Under, job: ClaimedJob) -> None:
    began = time.monotonic()
    under.faults.next("complete_job", Fault(delay_before=0.1, delay_after=0.1))
    await under.client.complete_job(job.id, "w", {})
    assert time.monotonic() - began >= 0.2


@BOTH_GENERATIONS
async def test_two_concurrent_completes_both_advance_the_instance_unless_they_are_fenced(
    under: Under, job: ClaimedJob, generation: Generation
) -> None:
    under.faults.always("complete_job", Fault(apart=1))
    await asyncio.gather(*[under.client.complete_job(job.id, "w", {}) for _ in range(2)])
    assert len(await under.client.poll_jobs("w", ["ship"], 10)) == (2 if generation == "A" else 1)
    under.faults.clear()
    await under.client.complete_job(job.id, "w", {})
    assert await under.client.poll_jobs("w", ["ship"], 10) == []


async def test_next_comes_before_always_and_clear_ends_both(under: Under) -> None:
    under.faults.always("poll_jobs", Fault(answer="error"))
    under.faults.next("poll_jobs", Fault(answer="lost"))
    for kind in (AnswerLost, InternalError, InternalError):
        with pytest.raises(kind):
            await under.client.poll_jobs("w", ["pick"], 1)
    under.faults.clear()
    assert await under.client.poll_jobs("w", ["pick"], 1) == []
    assert under.faults.calls["poll_jobs"] == 4


NETWORKED = [transport for transport in TRANSPORTS if transport != "fake"]


@pytest.fixture(params=NETWORKED)
async def impatient(request: pytest.FixtureRequest) -> AsyncIterator[Under]:
    """A client whose calls have a short timeout."""
    async with connected(cast("Transport", request.param), timeout=TIMEOUT) as found:
        await found.client.upload_definition(ORDER)
        await found.client.start_instance("order")
        yield found


async def test_a_caller_that_gives_up_does_not_stop_its_call(impatient: Under) -> None:
    [job] = await impatient.client.poll_jobs("w", ["pick"], 1)
    impatient.faults.next("complete_job", Fault(delay_before=TIMEOUT + 0.1))
    with pytest.raises(AnswerLost):
        await impatient.client.complete_job(job.id, "w", {})
    async with asyncio.timeout(60):
        while not await impatient.client.poll_jobs("w", ["ship"], 1):  # noqa: ASYNC110 — over a socket
            await asyncio.sleep(0.02)


async def noticed(connection: EngineClient) -> None:
    """Poll until the client knows that its connection is closed: until then a call may be sent there, and be lost."""
    async with asyncio.timeout(60):
        while True:
            try:
                await connection.poll_jobs("w", ["pick"], 1)
            except Unreachable:
                return
            except AnswerLost:
                await asyncio.sleep(0.01)


async def recovered(connection: EngineClient) -> float:
    """Poll until there is an answer; return how long it took, in seconds."""
    began = time.monotonic()
    async with asyncio.timeout(60):
        while True:
            try:
                await connection.poll_jobs("w", ["pick"], 1)
            except EngineError:
                await asyncio.sleep(0.02)
            else:
                return time.monotonic() - began


@pytest.mark.parametrize("transport", NETWORKED)
async def test_a_restart_keeps_state_and_ports_and_is_noticed_soon(transport: Transport) -> None:
    async with DevEngine(grpc_port=0) as engine, client(transport, engine) as connection:
        await connection.upload_definition(ORDER)
        where = (engine.url, engine.grpc_target)
        for pause in (0.0, 1.0):
            await engine.stop()
            await noticed(connection)
            for _ in range(3):
                with pytest.raises(Unreachable):
                    await connection.poll_jobs("w", ["pick"], 1)
            await asyncio.sleep(pause)
            await engine.start()
            assert (engine.url, engine.grpc_target) == where
            assert await recovered(connection) < 10  # gRPC waits up to 2 s before it connects again
            assert (await connection.get_definition("order"))["version"] == 1


@pytest.mark.parametrize("transport", NETWORKED)
async def test_a_stop_cuts_off_the_calls_in_flight(transport: Transport) -> None:
    async with DevEngine(grpc_port=0) as engine, client(transport, engine, timeout=60) as connection:
        await connection.upload_definition(ORDER)
        engine.faults.next("start_instance", Fault(delay_before=60))
        starting = asyncio.create_task(connection.start_instance("order"))
        await until(lambda: engine.faults.calls["start_instance"])
        async with asyncio.timeout(30):  # less than the delay
            await engine.stop()
            with pytest.raises(AnswerLost):
                await starting
        await engine.start()
        await recovered(connection)
        assert engine.state.instances == {}
