"""`run --reload`: another worker when the code has changed, after the jobs of the one before."""

import asyncio
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from integration.worker.conftest import MODULE, Worker, worker_process
from rochallor_worker import RestClient
from rochallor_worker.cli.reloading import files
from rochallor_worker.devengine import DevEngine
from unit.worker.engines import definition
from waiting import until

CODE = """
import asyncio, os
from rochallor_worker import Job, Registry
registry = Registry()

@registry.handler("held")
async def held(job: Job) -> dict:
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return {"version": VERSION}
"""


def reloading(folder: Path, engine: DevEngine, code: str) -> AbstractAsyncContextManager[Worker]:
    return worker_process(folder, engine.url, None, "--reload", code=code)


def of(version: int) -> str:
    return CODE.replace("VERSION", str(version))


async def test_a_change_starts_another_worker_when_the_running_job_has_ended(engine: DevEngine, tmp_path: Path) -> None:
    async with RestClient(engine.url) as client, reloading(tmp_path, engine, of(1)) as worker:
        await worker.logged('"metrics_port"')
        await client.upload_definition(definition("held"))
        first = await client.start_instance("d")
        await until(lambda: any(event.kind == "claim" for event in engine.state.log))
        (tmp_path / MODULE).write_text(of(22))
        await worker.logged("a file has changed")
        await worker.logged("draining")
        (tmp_path / "go").touch()
        await until(lambda: engine.state.instances[first.id].status == "COMPLETED")
        second = await client.start_instance("d")
        await until(lambda: engine.state.instances[second.id].status == "COMPLETED")
        versions = [engine.state.instances[one.id].variables["version"] for one in (first, second)]
    assert versions == [1, 22]
    assert worker.process.returncode == 0


async def test_code_that_cannot_be_loaded_waits_for_the_next_change(engine: DevEngine, tmp_path: Path) -> None:
    async with reloading(tmp_path, engine, "registry =") as worker:
        await worker.logged("it starts again when a file changes")
        (tmp_path / MODULE).write_text(of(1))
        await worker.logged('"metrics_port"')
        worker.process.send_signal(signal.SIGINT)
        assert await worker.ended() == 0


def test_only_files_of_the_project_are_looked_at(tmp_path: Path) -> None:
    for path in ("a.py", "pkg/b.py", "pkg/data.txt", ".hidden/c.py", "pkg/__pycache__/d.py", "venv/lib/e.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    assert sorted(files(tmp_path)) == [str(tmp_path / "a.py"), str(tmp_path / "pkg" / "b.py")]


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    assert files(tmp_path / "gone") == {}


@pytest.mark.timeout(120)
async def test_the_demo_needs_nothing_else(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rochallor_worker", "demo", "--instances", "30"),
        env={name: value for name, value in os.environ.items() if not name.startswith("ROCHALLOR_")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert "worker's status page http://127.0.0.1:" in out.decode()
    assert "in the right state │ 30      │ 30" in out.decode()
