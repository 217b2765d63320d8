"""Handlers in child processes: their outcomes, how they are ended, and that nothing of them remains."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker import Instance, Job, Registry
from rochallor_worker.cli import logs
from rochallor_worker.execution.limit import Limit
from rochallor_worker.handlers import processes as module
from rochallor_worker.handlers.cgroup import cpu_limit, memory_limit
from rochallor_worker.handlers.processes import Processes
from rochallor_worker.outcome import Completed, Failed, Outcome, Postponed
from rochallor_worker.testing import WorkerHarness
from unit.worker.process_handlers import registry
from unit.worker.running import invoke_and_log

MIB = 1024**2

pytestmark = pytest.mark.skipif("sys.platform == 'win32'")


@asynccontextmanager
async def children(limit: int = 1, **options: Any) -> AsyncIterator[Processes]:
    processes = Processes(limit, **options)
    try:
        yield processes
    finally:
        await processes.aclose()


async def _instance(_: str) -> Instance:
    return Instance(id="i", definition_id="d", definition_version=1, status="ACTIVE")


async def run(
    processes: Processes, job_type: str, timeout: float | None = None, registry: Registry = registry, **variables: Any
) -> Outcome | Postponed:
    limit = Limit(timeout, clock=lambda: asyncio.get_running_loop().time())
    job = Job(
        id="j",
        instance_id="i",
        step_execution_id="s",
        job_type=job_type,
        variables=variables,
        retries_remaining=1,
        _limit=lambda: limit.at,
        _fetch_instance=_instance,
    )
    threads: Any = None  # a handler in a process takes no thread
    outcome = await invoke_and_log(registry[job_type], job, threads, limit, processes=processes)
    assert outcome is not None
    return outcome


async def pid(processes: Processes, job_type: str = "pid", **variables: Any) -> int:
    outcome = await run(processes, job_type, **variables)
    assert isinstance(outcome, Completed)
    assert outcome.variables["main"]
    found: int = outcome.variables["pid"]
    return found


async def gone(process: int) -> None:
    """Wait until a process is no more, not even as a zombie."""
    async with asyncio.timeout(10):
        while _exists(process):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


async def file(path: Path) -> str:
    """Wait for a file; return its content."""
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
    return path.read_text()  # noqa: ASYNC240


async def test_a_child_stays_for_the_next_job() -> None:
    async with children(limit=2) as processes:
        first = await pid(processes)
        assert first not in {os.getpid(), 0}
        assert await pid(processes) == first
    await gone(first)


async def test_children_run_side_by_side_up_to_the_limit(tmp_path: Path) -> None:
    async with children(limit=2) as processes:
        waiting = asyncio.create_task(run(processes, "wait", folder=str(tmp_path)))
        await file(tmp_path / "pids")
        one, two = await asyncio.gather(pid(processes), pid(processes))
        assert one == two  # one after the other in the second child
        waiting.cancel()
        await asyncio.wait({waiting})


@pytest.mark.parametrize(
    ("job_type", "variables", "outcome"),
    [
        ("echo", {"a": [1, 2.5, None, "ü\n"], "big": "x" * 3_000_000}, None),
        ("fail", {}, Failed("ValueError: no such card", retryable=True)),
        ("fail", {"final": True}, Failed("NonRetryableError: no such card", retryable=False)),
        ("not-json", {}, "the handler's result is not JSON: TypeError"),
        ("end", {"how": "exit"}, "the handler's process ended with exit code 3 before the handler returned"),
        ("end", {"how": "segfault"}, "the handler's process was killed by SIGSEGV"),
        ("end", {"how": "SIGKILL"}, "the handler's process was killed by SIGKILL, probably because memory ran out"),
        ("end", {"how": "SIGABRT"}, "the handler's process was killed by SIGABRT"),
        ("hostile", {}, "the handler's process was killed: it wrote what is no answer into its pipe"),
        ("close", {}, "the handler's process was killed: it closed its pipe, and could answer no more"),
    ],
)
async def test_every_way_to_end_is_an_outcome_and_the_next_job_runs(
    job_type: str, variables: dict[str, Any], outcome: Outcome | str | None
) -> None:
    async with children() as processes:
        got = await run(processes, job_type, **variables)
        if isinstance(outcome, str):
            assert isinstance(got, Failed)
            assert got.retryable
            assert got.message.startswith(outcome)
        else:
            assert got == (Completed(variables) if outcome is None else outcome)
        assert await pid(processes) > 0


NO_TIME = "after is a number of seconds from 0 to 86400 (longer counts as a day)"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"after": 90}, Postponed(90, "the shop is closed")),
        ({"after": 0.5}, Postponed(0.5, "the shop is closed")),
        ({"after": 1e9}, Postponed(86400, "the shop is closed")),
        ({"after": 90, "grouped": True}, Postponed(90, "the shop is closed")),
        ({"after": 90, "final": True}, Failed("NonRetryableError: no such card (and 1 more)", retryable=False)),
        ({"after": -1}, Failed(f"ValueError: {NO_TIME}, not -1", retryable=True)),
    ],
)
async def test_a_handler_can_postpone_its_job_and_its_child_stays(
    variables: dict[str, Any], expected: Outcome | Postponed
) -> None:
    async with children() as processes:
        before = await pid(processes)
        assert await run(processes, "postpone", **variables) == expected
        assert await pid(processes) == before


async def test_an_error_is_logged_with_the_childs_traceback(logged: list[dict[str, Any]]) -> None:
    async with children() as processes:
        await run(processes, "fail")
    assert logged[-1]["error"] == "ValueError: no such card"
    assert 'raise (NonRetryableError if job.variables.get("final")' in logged[-1]["exception"]


async def test_a_child_that_dies_while_idle_costs_nothing() -> None:
    async with children() as processes:
        first = await pid(processes)
        os.kill(first, signal.SIGKILL)
        await gone(first)
        assert await pid(processes) != first


@pytest.mark.parametrize("job_type", ["wait", "stubborn"])
async def test_at_its_timeout_a_handler_is_ended_with_what_it_has_started(
    job_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TERM_SECONDS", 5.0 if job_type == "wait" else 0.2)
    async with children() as processes:
        await pid(processes)  # the child is there before the time runs
        outcome = await run(processes, job_type, timeout=1.5, folder=str(tmp_path))
        assert outcome == Failed("handler timed out after 1.5 s", retryable=True)
        child, helper = map(int, (tmp_path / "pids").read_text().split())
        assert not _exists(child)  # its failure is reported once it has ended
        assert (tmp_path / "cancelled").read_text() == "True"
        await gone(helper)
        assert await pid(processes) != child


async def test_the_end_of_the_worker_ends_running_handlers(tmp_path: Path) -> None:
    async with children() as processes:
        running = asyncio.create_task(run(processes, "wait", folder=str(tmp_path)))
        child, helper = map(int, (await file(tmp_path / "pids")).split())
    assert not _exists(child)
    await gone(helper)
    await running


async def test_a_killed_worker_leaves_no_child(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom unit.worker.test_processes import *\n"
        f"asyncio.run(run(Processes(1), 'stubborn', folder={str(tmp_path)!r}))"
    )
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ) as worker:
        child, helper = map(int, (await file(tmp_path / "pids")).split())
        worker.kill()
    await gone(child)
    await gone(helper)


async def test_children_are_replaced_after_so_many_jobs_or_when_they_have_grown() -> None:
    async with children(jobs=2) as processes:
        pids = [await pid(processes) for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
    async with children(memory=400 * 1024**2) as processes:
        first = await pid(processes)
        assert await pid(processes, "grow", bytes=310 * 1024**2) == first
        assert await pid(processes) != first


async def test_a_handler_logs_asks_and_reads_its_job_over_the_pipe(logged: list[dict[str, Any]]) -> None:
    async with children(prepare=logs.to_logging) as processes:
        outcome = await run(processes, "talk", timeout=60)
    assert isinstance(outcome, Completed)
    assert outcome.variables["status"] == "ACTIVE"
    assert not outcome.variables["cancelled"]
    assert outcome.variables["deadline"] > asyncio.get_running_loop().time()
    keys = {"job_id": "j", "job_type": "talk", "instance_id": "i", "attempt": 1, "amount": 3}
    assert logged == [{"event": "charged Ada", "log_level": "warning", **keys}]


async def test_every_logger_of_a_child_reaches_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    async with children(prepare=logs.to_logging) as processes:
        await run(processes, "talk", timeout=60)
    lines = [(record.name, record.getMessage().split(" job_id=")[0]) for record in caplog.records]
    assert lines == [("rochallor_worker.job", "charged Ada"), ("shop", "charged Ada"), ("shop", "charged Ada")]
    assert all((vars(record)["job_id"], vars(record)["amount"]) == ("j", 3) for record in caplog.records)


async def test_no_process_thread_or_descriptor_remains() -> None:
    async with children(limit=2, jobs=7) as processes:
        await pid(processes)
        before = descriptors()
        pids = set(await asyncio.gather(*(pid(processes) for _ in range(100))))
        assert len(pids) > 10
        await asyncio.sleep(1)  # the last one to be replaced ends
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("asyncio-waitpid")]
        assert len(threads) <= 2
        after = descriptors()
        pidfd = sys.version_info >= (3, 12)
        assert after <= before + 2 + pidfd  # of the second child: two pipes, and what asyncio waits for it with
    for process in pids:
        await gone(process)


@pytest.mark.skipif("sys.platform != 'linux'")
@pytest.mark.parametrize("job_type", ["grow", "grow-slowly"])
async def test_a_handler_that_would_use_more_memory_than_its_share_fails_and_nothing_dies(job_type: str) -> None:
    async with children(memory=200 * 1024**2) as processes:
        first = await pid(processes)
        outcome = await run(processes, job_type, bytes=2 * 1024**3)
        assert outcome == Failed("MemoryError: a process may use 200 MiB here", retryable=True)
        assert await pid(processes) == first


@pytest.mark.skipif("sys.platform != 'linux'")
async def test_what_a_handler_starts_is_limited_too() -> None:
    async with children(memory=200 * 1024**2) as processes:
        outcome = await run(processes, "grow-in-another-process", bytes=2 * 1024**3)
    assert outcome == Completed({"error": "MemoryError"})


@pytest.mark.parametrize(
    ("limit", "memory"),
    [(None, None), (1024 * MIB, 448 * MIB), (200 * MIB, 64 * MIB)],
)
def test_children_share_what_the_worker_leaves_of_the_pods_memory(
    limit: int | None, memory: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "memory_limit", lambda: limit)
    assert Processes(2).memory == memory


@pytest.mark.parametrize(
    ("path", "text", "limit"),
    [
        ("memory.max", "max\n", None),
        ("memory.max", "536870912\n", 536870912),
        ("memory/memory.limit_in_bytes", "536870912\n", 536870912),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("memory.max", "what?", None),
        ("elsewhere", "1", None),
    ],
)
def test_the_memory_limit_is_that_of_the_pod(path: str, text: str, limit: int | None, tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    assert memory_limit(tmp_path) == limit


@pytest.mark.skipif("sys.platform != 'linux'")
async def test_when_memory_runs_out_children_end_first() -> None:
    async with children() as processes:
        child = await pid(processes)
        assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"  # noqa: ASYNC240


def test_all_of_it_works_on_the_loop_of_a_worker_process(tmp_path: Path) -> None:
    async def runs() -> None:
        async with children() as processes:
            first = await pid(processes)
            assert await run(processes, "end", how="segfault") == Failed(
                "the handler's process was killed by SIGSEGV", retryable=True
            )
            second = await pid(processes)
            assert second != first
            outcome = await run(processes, "wait", timeout=1, folder=str(tmp_path))
            assert outcome == Failed("handler timed out after 1 s", retryable=True)
            await gone(second)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(runs())


async def test_a_thread_that_outlives_its_job_learns_so_and_holds_up_no_question(tmp_path: Path) -> None:
    async with children(prepare=logs.to_logging) as processes:
        await run(processes, "leave-a-thread", folder=str(tmp_path))
        assert await file(tmp_path / "told") == "the job has ended"
        assert isinstance(await run(processes, "talk", timeout=60), Completed)


async def test_the_harness_runs_them() -> None:
    assert await WorkerHarness(registry).run("echo", {"a": 1}) == Completed({"a": 1})


async def test_where_no_process_can_be_started_the_job_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with children() as processes:
        outcome = await run(processes, "pid")
    assert outcome == Failed(
        "ChildError: no process could be started for the handler: [Errno 2] No such file or directory: "
        "'/nowhere/python'".removeprefix("ChildError: "),
        retryable=True,
    )


def in_function() -> Callable[[Job], None]:
    def inner(_: Job) -> None: ...

    return inner


async def coroutine(_: Job) -> None: ...


def in_program(_: Job) -> None: ...


in_program.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (in_function(), "is not at the top level of a module"),
        (lambda _: None, "is not at the top level of a module"),
        (coroutine, "is async; a handler in a process is a plain function"),
        (in_program, "is in the program itself; put it into a module"),
    ],
)
def test_what_a_process_cannot_import_is_refused(function: Callable[[Job], Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"'t': .*test_processes.py, line \d+\) {message}"):
        Registry().handler("t", executor="process")(function)


def test_an_executor_is_one_of_two() -> None:
    given: Any = "fork"
    with pytest.raises(ValueError, match="'t': executor is \"thread\" or \"process\", not 'fork'"):
        Registry().handler("t", executor=given)


@pytest.mark.parametrize("version", [1, 2])
@given(
    quota=st.one_of(st.integers(-1, 10**9), st.sampled_from(["max", "", "x"])),
    period=st.one_of(st.integers(0, 10**6), st.sampled_from(["", "y"])),
)
def test_the_cpu_limit_is_that_of_the_pod(
    version: int, tmp_path_factory: pytest.TempPathFactory, quota: int | str, period: int | str
) -> None:
    cgroup = tmp_path_factory.mktemp("cgroup")
    if version == 2:
        (cgroup / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (cgroup / "cpu").mkdir()
        (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (cgroup / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")
    machine, limit = os.cpu_count() or 1, cpu_limit(cgroup)
    if isinstance(quota, int) and isinstance(period, int) and quota > 0 and period > 0:
        assert limit == machine or (limit - 1) * period < quota <= limit * period
        assert 1 <= limit <= machine
    else:
        assert limit == machine


def test_without_cgroups_the_limit_is_the_machines(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path) == os.cpu_count()
