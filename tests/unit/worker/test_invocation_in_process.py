"""Which handlers run in a process, and what counts there. (With real processes: test_processes.py.)"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest

from rochallor_worker import Job, NonRetryableError, Postpone
from rochallor_worker.handlers.failure import ChildError
from rochallor_worker.handlers.invocation import invoke
from rochallor_worker.handlers.middleware import Call
from rochallor_worker.outcome import Completed, Failed, Outcome, Postponed
from rochallor_worker.registry import Handler, Registry
from unit.worker.test_invocation import limit_of, make_job

if TYPE_CHECKING:
    from rochallor_worker.handlers.processes import Processes


class Elsewhere:
    """Stands in for the processes: answers with what it is given, or hangs."""

    def __init__(self, answer: Mapping[str, Any] | Exception, *, hangs: bool = False) -> None:
        self.answer = answer
        self.hangs = hangs
        self.ran: list[tuple[str, str]] = []
        self.interrupted = False

    async def call(self, handler: Handler, job: Job) -> Mapping[str, Any]:
        self.ran.append((handler.job_type, job.key))
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.interrupted = True
                raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def never(job: Job) -> None:
    raise AssertionError(f"job {job.id} ran in the worker itself")


IN_PROCESS = Handler("t", never, None, is_async=False, executor="process")


async def invoked(
    processes: Elsewhere | None, handler: Handler = IN_PROCESS, timeout: float | None = None
) -> Outcome | Postponed | None:
    """Invoke without any thread: none is needed."""
    with ThreadPoolExecutor(1) as threads:
        threads.shutdown()
        return await invoke(
            handler, make_job(), threads, limit_of(timeout), processes=cast("Processes | None", processes)
        )


async def test_a_handler_of_a_process_runs_there_and_its_result_is_the_outcome() -> None:
    processes = Elsewhere({"total": 3})
    assert await invoked(processes) == Completed({"total": 3})
    assert processes.ran == [("t", "s")]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ChildError("ValueError: no", permanent=False), Failed("ValueError: no", retryable=True)),
        (ChildError("NonRetryableError: no", permanent=True), Failed("NonRetryableError: no", retryable=False)),
        (Postpone("not yet", after=7), Postponed(7, "not yet")),
    ],
)
async def test_how_a_handler_ends_in_its_process_is_how_the_run_ends(
    error: Exception, outcome: Outcome | Postponed
) -> None:
    assert await invoked(Elsewhere(error)) == outcome


@pytest.mark.looptime
async def test_a_handler_in_a_process_is_ended_at_its_limit() -> None:
    processes = Elsewhere({}, hangs=True)
    async with asyncio.timeout(3600):
        outcome = await invoked(processes, timeout=10)
    assert outcome == Failed("handler timed out after 10 s", retryable=True)
    assert processes.interrupted
    assert asyncio.get_running_loop().time() == pytest.approx(10)


async def test_where_there_are_no_processes_the_run_fails_and_says_so() -> None:
    sentence = "RuntimeError: job type 't' runs in a process, and there are none here"
    assert await invoked(None) == Failed(sentence, retryable=True)


async def test_middleware_runs_in_the_worker_around_the_process() -> None:
    async def audit(job: Job, call: Call) -> Any:
        return {**await call(), "audited": job.key}

    async def refuse(_job: Job, _call: Call) -> Any:
        raise NonRetryableError("not this tenant")

    processes = Elsewhere({"total": 3})
    assert await invoked(processes, wrapped(audit)) == Completed({"total": 3, "audited": "s"})
    refused = Failed("NonRetryableError: not this tenant", retryable=False)
    assert await invoked(processes, wrapped(refuse)) == refused
    assert len(processes.ran) == 1


def wrapped(middleware: Any) -> Handler:
    """A handler of a process with middleware."""
    registry = Registry(middleware=[middleware])
    registry.handler("t", executor="process")(never)
    handler = registry.get("t")
    assert handler is not None
    return handler
