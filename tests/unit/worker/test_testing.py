"""The test helpers for users, and the project that `init` writes."""

import asyncio
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from typer.testing import CliRunner

from rochallor_worker import InstanceStatus, Job, Registry, RestClient, StartError, Worker
from rochallor_worker.cli.init import create
from rochallor_worker.cli.main import app
from rochallor_worker.devengine import DevEngine
from rochallor_worker.handlers.middleware import Call
from rochallor_worker.testing import Completed, Failed, WorkerHarness, engine
from unit.worker.engines import definition

__all__ = ["engine"]  # a fixture


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @registry.handler("double")
    async def double(job: Job) -> dict[str, int]:
        return {"n": job.variables["n"] * 2}

    @registry.handler("sync", timeout=60)
    def sync(job: Job) -> dict[str, int]:
        return {"attempt": job.attempt, "retries": job.retries_remaining}

    return registry


async def test_the_harness_runs_a_handler_as_a_worker_would(registry: Registry) -> None:
    worker = WorkerHarness(registry)
    assert await worker.run("double", {"n": 4}) == Completed({"n": 8})
    assert await worker.run("double") == Failed("KeyError: 'n'", retryable=True)
    assert await worker.run("sync", attempt=2, retries_remaining=1) == Completed({"attempt": 2, "retries": 1})
    with pytest.raises(LookupError, match="no handler for job type 'triple'; registered: double, sync"):
        await worker.run("triple")


async def test_the_harness_works_through_whole_instances(registry: Registry) -> None:
    worker = WorkerHarness(registry)
    async with worker.working() as fake:
        await fake.upload_definition(definition("double", "double", "sync"))
        started = await fake.start_instance("d", {"n": 3})
        instance = await worker.finish(started.id)
    assert instance.status is InstanceStatus.COMPLETED
    assert instance.variables == {"n": 12, "attempt": 1, "retries": 0}


def with_a_pool(trail: list[str]) -> Registry:
    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[dict[str, str]]:
        trail.append(f"opened for {worker.id}")
        yield {"db": "the pool"}
        trail.append("closed")

    async def audit(job: Job, call: Call, state: Mapping[str, str]) -> object:
        trail.append(f"{job.key} with {state['db']}")
        return await call()

    registry = Registry(lifespan=lifespan, middleware=[audit])
    registry.handler("a")(lambda _: {"ran": True})
    return registry


async def test_the_harness_gives_a_job_the_ids_it_is_given() -> None:
    registry = Registry()
    registry.handler("ids")(lambda job: {"ids": [job.id, job.instance_id, job.step_execution_id, job.key]})
    worker = WorkerHarness(registry)
    assert await worker.run("ids", job_id="1", instance_id="2", step_execution_id="3") == Completed(
        {"ids": ["1", "2", "3", "3"]}
    )
    assert await worker.run("ids") == Completed({"ids": ["job", "instance", "step-execution", "step-execution"]})


async def test_the_harness_runs_lifespan_and_middleware() -> None:
    trail: list[str] = []
    worker = WorkerHarness(with_a_pool(trail))
    assert await worker.run("a", step_execution_id="s1") == Completed({"ran": True})
    assert trail == ["opened for harness", "s1 with the pool", "closed"]
    trail.clear()
    async with worker.working():
        assert trail == ["opened for harness"]
        instance = await worker.run_instance(definition("a", "a"))
        assert (instance.status, instance.variables) == (InstanceStatus.COMPLETED, {"ran": True})
        again = await worker.run_instance("d", {"n": 1})
        assert again.variables == {"n": 1, "ran": True}
    assert len(trail) == 1 + 4 + 1
    assert trail[-1] == "closed"


async def test_a_test_can_give_the_state_in_place_of_the_lifespan() -> None:
    trail: list[str] = []
    worker = WorkerHarness(with_a_pool(trail), state={"db": "a fake"})
    assert await worker.run("a") == Completed({"ran": True})
    async with worker.working():
        await worker.run_instance(definition("a"))
    assert [entry.partition(" with ")[2] for entry in trail] == ["a fake", "a fake"]


async def test_a_lifespan_that_cannot_be_opened_fails_the_test_at_once() -> None:
    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        raise_(ConnectionError("refused"))
        yield

    def raise_(error: Exception) -> None:
        raise error

    registry = Registry(lifespan=lifespan)
    registry.handler("a")(lambda _: None)
    with pytest.raises(StartError, match="ConnectionError: refused"):
        await WorkerHarness(registry).run("a")
    with pytest.raises(StartError, match="ConnectionError: refused"):
        async with WorkerHarness(registry).working():
            raise AssertionError("the block must not begin")


WITHOUT_IMPORTS = """
import urllib.request

def test_the_engine_answers(engine):
    assert urllib.request.urlopen(f"{engine.url}/healthz").status == 200

def test_the_harness(worker_harness):
    assert worker_harness.__name__ == "WorkerHarness"
"""


def test_pytest_finds_the_fixtures_without_an_import(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(WITHOUT_IMPORTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_plugin_imports_little_until_a_fixture_is_used() -> None:
    program = "import sys, rochallor_worker.pytest_plugin; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_the_harness_says_at_once_where_an_instance_ended_instead(registry: Registry) -> None:
    worker = WorkerHarness(registry)
    async with worker.working() as fake:
        await fake.upload_definition(definition("double", "approve"))
        failed = await fake.start_instance("d", {"n": None})
        with pytest.raises(AssertionError) as ended:
            await worker.reach(failed.id, "step-1")
        assert str(ended.value).startswith(f"instance {failed.id} is FAILED (TypeError: ")
        assert str(ended.value).endswith("never reached 'step-1'")
        waiting = await fake.start_instance("d", {"n": 1})
        await worker.reach(waiting.id, "step-1")
        still = r"is still ACTIVE at \['step-1'\] after 0.1 s: no handler for its job type\?$"
        with pytest.raises(AssertionError, match=still):
            await worker.finish(waiting.id, within=0.1)


def load_start(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("start", folder / "start.py")
    assert spec is not None
    assert spec.loader is not None
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    return start


async def test_a_new_project_says_so_when_no_worker_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path / "shop")
    start = load_start(tmp_path / "shop")
    monkeypatch.setattr(start, "LIMIT_SECONDS", 0.1)
    async with DevEngine() as engine:
        monkeypatch.setenv("ROCHALLOR_ENGINE_URL", engine.url)
        with pytest.raises(SystemExit, match=r"still ACTIVE after 0.1 s at step greet: is a worker running\?"):
            await start.main()


def test_a_new_project_says_in_one_line_that_there_is_no_engine(tmp_path: Path) -> None:
    create(tmp_path / "shop")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        environment = os.environ | {"ROCHALLOR_ENGINE_URL": url}
        command = [sys.executable, str(tmp_path / "shop" / "start.py")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert f"cannot connect to {url}" in line


@pytest.mark.parametrize("where", ["in the repository", "alone"])
@pytest.mark.parametrize("example", ["workflow-test", "loan-approval"])
def test_the_example_of_a_workflow_test_passes(example: str, where: str, tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "examples" / example
    if where == "alone":
        without_settings = shutil.ignore_patterns("pytest.ini")
        folder = shutil.copytree(folder, tmp_path / example, ignore=without_settings)
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


async def test_the_engine_fixture_lets_time_pass_from_another_thread(engine: DevEngine) -> None:
    timer = {"type": "TIMER", "duration": "PT72H", "interrupting": True, "targetStepId": "late"}
    steps = [
        {"id": "u", "name": "U", "type": "USER_TASK", "nextStep": "end", "boundaryEvents": [timer]},
        {"id": "late", "name": "L", "type": "TRANSFORMATION", "transformations": {"late": True}, "nextStep": "end"},
        {"id": "end", "name": "E", "type": "END"},
    ]
    async with RestClient(engine.url) as client:
        await client.upload_definition({"id": "patient", "name": "Patient", "steps": steps})
        started = await client.start_instance("patient")
        engine.advance(72 * 3600 - 60)
        assert (await client.get_instance(started.id)).status is InstanceStatus.WAITING
        engine.advance(60)
        assert (await client.get_instance(started.id)).variables == {"late": True}


def test_the_engine_fixture_serves_sync_tests(engine: DevEngine) -> None:
    assert httpx.get(f"{engine.url}/healthz", timeout=60).status_code == 200


async def test_the_engine_fixture_serves_async_tests(engine: DevEngine) -> None:
    async with RestClient(engine.url) as client:
        assert (await client.list_definitions()).total == 0


def test_a_new_project_bears_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "shop-worker"
    assert {path.name for path in create(folder)} == {path.name for path in folder.iterdir()}
    assert "name: shop-worker" in (folder / "worker.yaml").read_text()
    assert "{" not in (folder / "Dockerfile").read_text()


def test_init_says_what_to_run_next_as_the_project_does(tmp_path: Path) -> None:
    folder = tmp_path / "my shop" / "shop"
    done = CliRunner().invoke(app, ["init", str(folder)])
    first, *commands = done.stdout.split("\n\n")[-1].strip().splitlines()
    assert first == f"Now run, in three terminals in '{folder}':"
    assert len(commands) == 3
    assert all(f"`{command.strip()}`" in (folder / "README.md").read_text() for command in commands)


def test_the_tests_of_a_new_project_pass_without_a_warning(tmp_path: Path) -> None:
    """Also with the pytest-asyncio that is installed here, which the project does not use."""
    create(tmp_path / "shop")
    # pytest-asyncio itself makes this one from Python 3.12 on
    command = [sys.executable, "-m", "pytest", "--quiet", "-W", "ignore:There is no current event loop"]
    done = subprocess.run(command, cwd=tmp_path / "shop", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout + done.stderr


def test_a_new_project_names_an_image_that_a_node_may_have(tmp_path: Path) -> None:
    """Not :latest, which Kubernetes always pulls, and which moves."""
    create(tmp_path / "shop")
    [image] = re.findall(r"image: (\S+)", (tmp_path / "shop" / "worker.yaml").read_text())
    assert image.startswith("shop:")
    assert not image.endswith(":latest")
    assert f"docker build -t {image}" in (tmp_path / "shop" / "README.md").read_text()


def test_a_new_project_overwrites_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    create(folder)
    with pytest.raises(StartError, match=r"already has Dockerfile, README.md, handlers.py, .*; nothing was written"):
        create(folder)


@pytest.mark.parametrize(
    ("name", "better"),
    [("My Shop", "; try my-shop"), ("hello-", "; try hello"), ("My_Shop", "; try my-shop"), ("7", "")],
)
def test_a_new_project_has_a_name_that_kubernetes_takes(tmp_path: Path, name: str, better: str) -> None:
    rule = "must be up to 55 of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit"
    with pytest.raises(StartError, match=f"'{name}' cannot name a worker: {rule}{better}$"):
        create(tmp_path / name)
