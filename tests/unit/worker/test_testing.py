"""What we give people for their own tests, and the project that `init` writes."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from rochallor_worker import InstanceStatus, Job, Registry, RestClient, StartError
from rochallor_worker.devengine import DevEngine
from rochallor_worker.init import create
from rochallor_worker.testing import Completed, Failed, WorkerHarness, engine
from unit.worker.engines import definition

__all__ = ["engine"]  # a fixture


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @registry.handler("double")
    async def double(job: Job) -> dict[str, int]:
        return {"n": job.variables["n"] * 2}

    @registry.handler("sync", timeout=5)
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


def test_the_engine_fixture_serves_sync_tests(engine: DevEngine) -> None:
    assert httpx.get(f"{engine.url}/healthz").status_code == 200


async def test_the_engine_fixture_serves_async_tests(engine: DevEngine) -> None:
    async with RestClient(engine.url) as client:
        assert (await client.list_definitions()).total == 0


def test_a_new_project_bears_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "shop-worker"
    assert {path.name for path in create(folder)} == {path.name for path in folder.iterdir()}
    assert "name: shop-worker" in (folder / "worker.yaml").read_text()
    assert "{" not in (folder / "Dockerfile").read_text()


def test_the_tests_of_a_new_project_pass_without_a_warning(tmp_path: Path) -> None:
    """Also with the pytest-asyncio that is installed here, which the project does not use."""
    create(tmp_path / "shop")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet"], cwd=tmp_path / "shop", capture_output=True, text=True, check=False
    )
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


@pytest.mark.parametrize("name", ["My Shop", "hello-"])
def test_a_new_project_has_a_name_that_kubernetes_takes(tmp_path: Path, name: str) -> None:
    rule = "must be up to 55 of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit"
    with pytest.raises(StartError, match=f"'{name}' cannot name a worker: {rule}$"):
        create(tmp_path / name)
