"""A real worker process against the dev engine over a real socket."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.worker.conftest import worker_process
from rochallor_worker import RestClient
from rochallor_worker.devengine import DevEngine
from unit.worker.engines import definition
from waiting import until

pytestmark = pytest.mark.timeout(120)


async def start(engine: DevEngine, *job_types: str, count: int = 1, retries: int = 0) -> None:
    async with RestClient(engine.url) as client:
        await client.upload_definition(definition(*job_types, retries=retries))
        for number in range(count):
            await client.start_instance("d", {"n": number})


def count(engine: DevEngine, status: str) -> int:
    return sum(instance.status == status for instance in engine.state.instances.values())


def runs(engine: DevEngine) -> int:
    return sum(event.kind == "claim" for event in engine.state.log)


async def test_jobs_get_done_and_are_counted(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "quick", "quick", count=50)
    async with worker_process(tmp_path, engine.url) as worker:
        await worker.started()
        await worker.answers("/readyz", 200)
        await until(lambda: count(engine, "COMPLETED") == 50)
        assert (await worker.get("/livez")).status_code == 200
        await worker.shows("rochallor_worker_jobs_total", 100)  # it counts a job once it has the engine's answer
        exposition = (await worker.get("/metrics")).text
        assert 'rochallor_worker_jobs_total{job_type="quick",outcome="completed"} 100.0' in exposition
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    assert runs(engine) == 100
    assert all(json.loads(line) for line in worker.log.splitlines())


async def test_grpc_jobs_have_their_variables(tmp_path: Path) -> None:
    async with DevEngine(grpc_port=0) as engine:
        await start(engine, "quick", "quick", count=50)
        grpc = {"transport": "grpc", "engine_grpc_target": engine.grpc_target}
        async with worker_process(tmp_path, engine.url, **grpc) as worker:
            await worker.started()
            await worker.answers("/readyz", 200)
            await until(lambda: count(engine, "COMPLETED") == 50)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        assert {instance.variables["seen"] for instance in engine.state.instances.values()} == set(range(50))
        assert runs(engine) == 100


async def test_a_bad_job_fails_and_the_worker_lives_on(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "picky", count=3, retries=5)
    async with worker_process(tmp_path, engine.url) as worker:
        await worker.started()
        await until(lambda: count(engine, "FAILED") == 3)
        assert (await worker.get("/livez")).status_code == 200
    assert runs(engine) == 3


async def test_sigterm_lets_running_jobs_finish(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "held", count=10)
    async with worker_process(tmp_path, engine.url) as worker:
        await worker.started()
        await until(lambda: runs(engine) == 10)
        worker.process.send_signal(signal.SIGTERM)
        await worker.reports("Draining")
        assert count(engine, "COMPLETED") == 0
        (tmp_path / "go").touch()
        assert await worker.ended() == 0
    assert count(engine, "COMPLETED") == 10


async def test_a_second_signal_ends_the_process_at_once(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "blocking")
    async with worker_process(tmp_path, engine.url) as worker:
        await worker.started()
        await until(lambda: runs(engine) == 1)
        worker.process.send_signal(signal.SIGTERM)
        await worker.logged("draining")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 1


async def test_a_thread_that_does_not_end_cannot_hold_the_process_past_the_drain(
    engine: DevEngine, tmp_path: Path
) -> None:
    await start(engine, "blocking", retries=1)
    async with worker_process(tmp_path, engine.url, drain_timeout="100ms") as worker:
        await worker.started()
        await until(lambda: runs(engine) == 1)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    assert [job.retries_remaining for job in engine.state.jobs.values()] == [1]


LEFT_RUNNING = """
import threading, time
from rochallor_worker import Job, Registry

registry = Registry()
threading.Thread(target=lambda: time.sleep(600), name="a library's own").start()

@registry.handler("blocks")
async def blocks(job: Job) -> None:
    time.sleep(600)
"""


async def test_a_thread_that_a_module_started_cannot_hold_the_process_after_it_has_stopped(
    engine: DevEngine, tmp_path: Path
) -> None:
    async with worker_process(tmp_path, engine.url, code=LEFT_RUNNING) as worker:
        await worker.started()
        worker.process.send_signal(signal.SIGTERM)
        await worker.logged('"stopped"')
        assert await worker.ended() == 0
    last = json.loads(worker.log.splitlines()[-1])
    assert last["event"] == "ending the process although threads are still running"
    assert "a library's own" in last["threads"]


WITH_A_LIFESPAN = """
import logging, threading, time
from contextlib import asynccontextmanager
from prometheus_client import Counter
from rochallor_worker import Job, Registry

log = logging.getLogger("shop")
charges = Counter("shop_charges", "Charged cards.")

@asynccontextmanager
async def lifespan(worker):
    log.warning("the pool is open")
    yield {"db": "the pool"}
    log.warning("the pool is closed")

async def audit(job, call, state):
    result = await call()
    return {**(result or {}), "seen": state["db"]}

registry = Registry(lifespan=lifespan, middleware=[audit])

@registry.handler("quick")
def quick(job: Job) -> None:
    charges.inc()
"""


async def test_a_lifespan_is_open_while_jobs_run(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "quick", count=5)
    async with worker_process(tmp_path, engine.url, code=WITH_A_LIFESPAN) as worker:
        await worker.started()
        await until(lambda: count(engine, "COMPLETED") == 5)
        assert "\nshop_charges_total 5.0\n" in (await worker.get("/metrics")).text
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    assert {instance.variables["seen"] for instance in engine.state.instances.values()} == {"the pool"}
    events = [json.loads(line)["event"] for line in worker.log.splitlines()]
    order = ["the pool is open", "started", "draining", "the pool is closed", "stopped"]
    assert [event for event in events if event in order] == order


async def test_a_lifespan_that_does_not_close_cannot_hold_the_process(engine: DevEngine, tmp_path: Path) -> None:
    closing = """
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass
"""
    code = "import asyncio" + WITH_A_LIFESPAN.replace('\n    log.warning("the pool is closed")\n', closing)
    # it ends after 7 s, whatever the drain timeout is up to 3 s; one 8 s longer than that would end it with status 1
    async with worker_process(tmp_path, engine.url, code=code, drain_timeout="3s") as worker:
        await worker.started()
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    events = [json.loads(line)["event"] for line in worker.log.splitlines()]
    assert events[-3:] == [
        "a lifespan has not closed in time, and is cancelled",
        "stopped",
        "ending the process although threads are still running",
    ]


THREAD = 'import threading, time; threading.Thread(target=time.sleep, args=(600,), name="a library\'s own").start()'
FAILING = WITH_A_LIFESPAN.replace(
    'log.warning("the pool is open")', f"{THREAD}\n    raise ConnectionError('the database\\nis down')"
)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (FAILING, "lifespan 'lifespan' failed: ConnectionError: the database is down (my_handlers.py, line 13)"),
        (f"{THREAD}\nimport nowhere", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
    ],
    ids=["lifespan", "import"],
)
async def test_a_start_error_ends_the_process_whatever_thread_was_started(
    engine: DevEngine, tmp_path: Path, code: str, sentence: str
) -> None:
    async with worker_process(tmp_path, engine.url, code=code) as worker:
        assert await worker.ended() == 2
    error, ending = [json.loads(line) for line in worker.log.splitlines()]
    assert sentence in error["event"]
    assert "a library's own" in ending["threads"]


async def test_a_second_signal_ends_a_process_that_only_threads_hold(engine: DevEngine, tmp_path: Path) -> None:
    async with worker_process(tmp_path, engine.url, code=LEFT_RUNNING) as worker:
        await worker.started()
        worker.process.send_signal(signal.SIGTERM)
        await worker.logged('"stopped"')
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() in {0, 1}


async def test_a_blocked_loop_cannot_hold_the_process_past_the_drain(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "blocks")
    async with worker_process(tmp_path, engine.url, code=LEFT_RUNNING, drain_timeout="100ms") as worker:
        await worker.logged("blocks the event loop")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 1


ITS_OWN_LOOP = """
import asyncio
from rochallor_worker import Job, Registry

async def fetch_limit():
    return 5

registry = Registry()
limit = asyncio.run(fetch_limit())

@registry.handler("quick")
async def quick(job: Job) -> None: ...
"""


async def test_a_missing_folder_for_multiprocess_metrics_is_one_line(tmp_path: Path) -> None:
    async with worker_process(tmp_path, "http://127.0.0.1:1", {"PROMETHEUS_MULTIPROC_DIR": "/nowhere"}) as worker:
        assert await worker.ended() == 2
    [line] = worker.log.splitlines()
    assert "PROMETHEUS_MULTIPROC_DIR='/nowhere' is not a folder" in json.loads(line)["event"]


async def test_a_module_may_run_a_loop_of_its_own_while_it_is_imported(engine: DevEngine, tmp_path: Path) -> None:
    async with worker_process(tmp_path, engine.url, code=ITS_OWN_LOOP) as worker:
        await worker.started()
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0


AWKWARD = """
import asyncio, contextlib, socket
from rochallor_worker import Job, Registry

registry = Registry()

@registry.handler("stubborn")
async def stubborn(job: Job) -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

@registry.handler("broken-pipe")
def broken_pipe(job: Job) -> None:
    here, there = socket.socketpair()
    there.close()
    here.send(b"anybody there?")
"""


async def test_a_handler_that_does_not_end_when_cancelled_cannot_hold_the_process(
    engine: DevEngine, tmp_path: Path
) -> None:
    await start(engine, "stubborn", retries=1)
    async with worker_process(tmp_path, engine.url, code=AWKWARD, drain_timeout="100ms") as worker:
        await worker.started()
        await until(lambda: runs(engine) == 1)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0


async def test_a_broken_pipe_of_a_handler_is_an_error_like_any_other(engine: DevEngine, tmp_path: Path) -> None:
    await start(engine, "broken-pipe")
    async with worker_process(tmp_path, engine.url, code=AWKWARD) as worker:
        await worker.started()
        await until(lambda: count(engine, "FAILED") == 1)
        assert (await worker.get("/livez")).status_code == 200
    assert [item.failure_reason for item in engine.state.instances.values()] == [
        "BrokenPipeError: [Errno 32] Broken pipe"
    ]


async def test_a_sigterm_while_handlers_are_imported_ends_the_process(engine: DevEngine, tmp_path: Path) -> None:
    importing = "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(60)"
    async with worker_process(tmp_path, engine.url, code=importing) as worker:
        await worker.logged("importing")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 128 + signal.SIGTERM


async def test_without_an_engine_it_waits_unready_and_starts_when_one_comes(tmp_path: Path, closed_port: int) -> None:
    async with worker_process(tmp_path, f"http://127.0.0.1:{closed_port}") as worker:
        await worker.started()
        assert "cannot connect" in await worker.reports("EngineUnreachable: ")  # not before its first poll
        assert (await worker.get("/livez")).status_code == 200
        async with DevEngine(port=closed_port) as late:
            await start(late, "quick")
            await until(lambda: count(late, "COMPLETED") == 1)
            await worker.answers("/readyz", 200)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"handlers": "nowhere:registry"}, "handlers 'nowhere:registry' cannot be imported: ModuleNotFoundError"),
        (
            {"job_types": "quick,unheard-of"},
            "no handler for job type 'unheard-of' (ROCHALLOR_JOB_TYPES); registered: quick, brief, held",
        ),
        ({"parallelism": "lots"}, "ROCHALLOR_PARALLELISM='lots' is not valid: must be a whole number from 1"),
        ({"engine_url": ""}, "ROCHALLOR_ENGINE_URL is not set: must be a URL such as http://engine:8080"),
        (
            {"transport": "grpc"},
            "ROCHALLOR_ENGINE_GRPC_TARGET is not set: must be a host and port such as engine:90",
        ),
        (
            {"engine_url": "https://engine", "engine_ca_file": "/nowhere.pem"},
            "the engine's CA file /nowhere.pem cannot be read",
        ),
    ],
    ids=["import", "job type", "setting", "unset", "grpc", "tls"],
)
async def test_a_start_error_is_the_last_log_line_and_exit_status_two(
    engine: DevEngine, tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    async with worker_process(tmp_path, engine.url, **settings) as worker:
        assert await worker.ended() == 2
    last = json.loads(worker.log.splitlines()[-1])
    assert last["event"].startswith(sentence)
    assert "Traceback" not in worker.log


def test_on_a_terminal_a_bad_setting_is_reported_in_text() -> None:
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROCHALLOR_")}
    subprocess.run(
        [sys.executable, "-m", "rochallor_worker", "run", "handlers:registry"],
        env=environment | {"ROCHALLOR_PARALLELISM": "lots", "NO_COLOR": "1"},
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    shown = ""
    with contextlib.suppress(OSError):  # the end: nobody has the other side open
        while part := os.read(ours, 10_000):
            shown += part.decode()
    os.close(ours)
    assert "ROCHALLOR_PARALLELISM='lots' is not valid: must be a whole number" in shown
    assert not shown.startswith("{")
