"""The demo's load against the dev engine, with a worker in this process or without one."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import yaml

from logged import logged_by
from pages import ROOT
from rochallor_worker.cli import demo, hello
from rochallor_worker.cli.hello import registry
from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.execution.runner import Runner
from rochallor_worker.job import Job
from rochallor_worker.registry import Registry


@pytest.fixture(autouse=True)
def no_logs() -> Iterator[None]:
    """Keep the worker's log out of the demo's output."""
    with logged_by("rochallor_worker"):
        yield


@asynccontextmanager
async def working(engine: DevEngine, registry: Registry) -> AsyncIterator[None]:
    async with RestClient(engine.url) as client:
        runner = Runner(client, registry, worker_id="w")
        running = asyncio.create_task(runner.run())
        try:
            yield
        finally:
            runner.stop()
            await running


async def test_every_instance_ends_as_expected(engine: DevEngine, capsys: pytest.CaptureFixture[str]) -> None:
    async with working(engine, registry):
        assert await demo.run_demo(engine.url, 30) == 0
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines() if "│" in line] == [
        ["│", "COMPLETED", "│", "27", "│", "27", "│"],
        ["│", "FAILED", "│", "3", "│", "3", "│"],
        ["│", "in", "the", "right", "state", "│", "30", "│", "30", "│"],
    ]
    assert "9 retries" in shown
    assert "kubectl get rw" in shown
    assert engine.state.list_instances(status="COMPLETED")[1] == 27


async def test_other_instances_do_not_count(engine: DevEngine, capsys: pytest.CaptureFixture[str]) -> None:
    async with RestClient(engine.url) as client:
        await client.upload_definition(demo.HELLO)
        for _ in range(3):
            await client.cancel_instance((await client.start_instance("hello")).id)
    async with working(engine, registry):
        assert await demo.run_demo(engine.url, 10) == 0
    assert "CANCELLED" not in capsys.readouterr().out


async def test_a_wrong_end_is_named(engine: DevEngine, capsys: pytest.CaptureFixture[str]) -> None:
    anything = Registry()
    for step in demo.STEPS:

        @anything.handler(f"hello-{step}")
        async def anything_goes(_job: Job) -> None: ...

    async with working(engine, anything):
        assert await demo.run_demo(engine.url, 10) == 1
    [wrong] = [one for one in engine.state.instances.values() if not one.variables["address"]]
    assert f"{wrong.id}: COMPLETED at its end, must be FAILED." in capsys.readouterr().out


async def test_without_a_worker_it_says_so_and_gives_up(
    engine: DevEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(demo, "HINT_SECONDS", 0.0)
    monkeypatch.setattr(demo, "STALL_SECONDS", 0.05)
    assert await demo.run_demo(engine.url, 2) == 1
    shown = capsys.readouterr().out
    assert "no instance has ended for 0 s: is a worker for hello-fetch, hello-price and hello-ship running?" in shown
    assert "ACTIVE at fetch, must be COMPLETED" in shown


async def test_an_unreachable_engine_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert await demo.run_demo("http://127.0.0.1:9", 2) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("demo: POST /v1/definitions: cannot connect to http://127.0.0.1:9")


def test_the_demo_here_has_the_handlers_of_the_example() -> None:
    code, _ = yaml.safe_load_all((ROOT / "examples" / "hello" / "worker.yaml").read_text())
    assert inspect.getsource(hello) == code["data"]["handlers.py"]
