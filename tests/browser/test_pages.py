"""The status page and the dev engine's page in a real browser, on a phone and on a desk, by day and by night."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from browser.chromium import Tab
from browser.looks import faults_of, keep, windows
from rochallor_worker import Job, NonRetryableError, Registry, RestClient, Runner
from rochallor_worker.devengine import DevEngine
from rochallor_worker.observability import http
from rochallor_worker.observability.activity import Activity
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status import status
from unit.worker.engines import loop_time
from waiting import until

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>" + "W" * 300
in_each_window = windows(1200)


class Scene:
    """A worker whose jobs succeed, fail, are retried and go on; with an open breaker, and hostile names and errors."""

    def __init__(self, engine: DevEngine, client: RestClient) -> None:
        self.engine = engine
        self.may_end = asyncio.Event()
        self.registry = Registry()
        self.registry.handler("charge-card", limit=8, per_second=50)(self.work)
        self.registry.handler(f"ship-{HOSTILE}", breaker=None)(self.work)
        self.registry.handler("notify")(self.work)
        self.runner = Runner(client, self.registry, worker_id=f"payments-{HOSTILE}", parallelism=16, poll_interval=0.02)
        self.sampler = Sampler(self.runner.slots, self.runner.gates, loop_time)
        self.activity = Activity(self.runner.job_types, loop_time)
        self.runner.observers.append(self.activity.observe)

    async def work(self, job: Job) -> dict[str, str]:
        match job.variables["kind"]:
            case "bad":
                raise NonRetryableError(f"the address cannot be shipped to: {HOSTILE}")
            case "flaky" if job.attempt == 1:
                raise ConnectionError(f"reset by peer {HOSTILE}")
            case "long":
                await self.may_end.wait()
        return {"receipt": HOSTILE}

    async def start(self, client: RestClient) -> None:
        steps = [
            {"id": f"step-{number}", "name": "s", "type": "SERVICE_TASK", "jobType": job_type, "retryCount": 2}
            for number, job_type in enumerate(self.registry.job_types)
        ]
        steps = [step | {"nextStep": after} for step, after in zip(steps, ("step-1", "step-2", "end"), strict=True)]
        await client.upload_definition(
            {"id": "orders", "name": "o", "steps": [*steps, {"id": "end", "name": "e", "type": "END"}]}
        )
        for kind in ("good", "bad", "flaky", "long", "good", "flaky", "long", "good"):
            await client.start_instance("orders", {"kind": kind, "note": HOSTILE}, business_key="")
        await client.start_instance("orders", {"kind": "long"}, business_key=f"order-{HOSTILE}")
        notified = self.activity.types["notify"]
        await until(lambda: notified.completed == 5 and self.runner.slots.busy == 3)  # the good and the flaky ones
        circuit = self.runner.gates["notify"].circuit
        for _ in range(20):
            circuit.failed(loop_time(), f"ConnectionRefusedError: {HOSTILE}")


@asynccontextmanager
async def worker() -> AsyncIterator[tuple[Scene, str]]:
    """The scene, and the URL of its worker's page."""
    async with DevEngine() as engine, RestClient(engine.url) as client:
        scene = Scene(engine, client)
        running = asyncio.create_task(scene.runner.run())
        sampling = asyncio.create_task(scene.sampler.run())
        metrics = Metrics(scene.runner, scene.sampler, transport="rest", worker_id="w")
        shown = partial(
            status,
            scene.runner,
            scene.activity,
            scene.sampler,
            transport="rest",
            worker_id=f"payments-{HOSTILE}",
            clock=loop_time,
        )
        async with http.serve(scene.runner, metrics, shown, 0, "127.0.0.1") as port:
            await scene.start(client)
            yield scene, f"http://127.0.0.1:{port}/"
            scene.may_end.set()
            scene.runner.stop()
            await running
        sampling.cancel()


async def test_what_sticks_out_is_cut_off_or_faint_is_found(tab: Tab) -> None:
    parts = (
        "<p style='width:900px'>wide</p>",
        "<p style='width:50px;overflow:hidden;white-space:nowrap'>cut off here</p>",
        "<p style='color:#999'>faint</p>",
        "<p>well</p>",
    )
    await tab.open(f"data:text/html,<body>{''.join(parts).replace('#', '%23')}", width=800)
    await tab.until("document.querySelectorAll('p').length === 4")
    found = await faults_of(tab)
    assert [next(part for part in ("the page", "wide", "cut", "faint") if part in fault) for fault in found] == [
        *("the page", "wide", "cut", "faint"),
    ]


@in_each_window
async def test_the_status_page_can_be_read(tab: Tab, width: int, dark: bool) -> None:
    name = f"status-{width}{'-dark' if dark else ''}"
    async with worker() as (scene, url):
        await tab.open(url, width=width, dark=dark)
        await tab.until("document.querySelectorAll('table').length === 4")
        await keep(tab, f"{name}")
        assert await faults_of(tab) == []
        text = await tab.evaluate("document.body.innerText")
        for part in ("charge-card", "3 of 16 busy", "8 at once; 50 per second", "open, ", "Failed permanently"):
            assert part in text
        assert text.count("the address cannot be shipped to: <img src=x onerror=alert(1)>") == 1
        assert await tab.evaluate("document.images.length + document.querySelectorAll('body script').length") == 1
        scene.runner.stop()
        await tab.until("document.body.innerText.includes('3 of 3 jobs still run')")
        await keep(tab, f"{name}-draining")
        assert await faults_of(tab) == []


async def test_the_status_page_says_when_the_worker_has_gone_and_keeps_what_it_showed(tab: Tab) -> None:
    async with worker() as (_, url):
        await tab.open(url, width=1200)
        await tab.until("document.querySelectorAll('table').length === 4")
    await tab.until("document.querySelector('[role=alert]') !== null")
    assert "no answer" in await tab.evaluate("document.querySelector('[role=alert]').textContent")
    assert await tab.evaluate("document.querySelectorAll('table').length") == 4


@in_each_window
async def test_the_dev_engines_page_can_be_read(tab: Tab, width: int, dark: bool) -> None:
    name = f"engine-{width}{'-dark' if dark else ''}"
    async with worker() as (scene, _):
        await tab.open(f"{scene.engine.url}/", width=width, dark=dark)
        await tab.until("document.querySelectorAll('tbody tr').length === 9")
        await keep(tab, f"{name}")
        assert await faults_of(tab) == []
        failed = next(one for one in scene.engine.state.instances.values() if one.status == "FAILED")
        await tab.evaluate(f"location.hash = '#{failed.id}'")
        await tab.until("document.body.innerText.includes('Path so far')")
        await keep(tab, f"{name}-instance")
        assert await faults_of(tab) == []
        path = await tab.evaluate("document.querySelectorAll('ol.path')[0].innerText")
        assert "step-0" in path
        assert "the address cannot be shipped to: <img" in path
        assert "step-2" not in path
        assert "not reached" in await tab.evaluate("document.querySelectorAll('ol.path')[1].innerText")
        assert await tab.evaluate("document.images.length") == 0


async def test_the_dev_engines_page_shows_the_history_page_by_page(tab: Tab) -> None:
    async with DevEngine() as engine, RestClient(engine.url) as client:
        await client.upload_definition({"id": "d", "name": "d", "steps": [{"id": "e", "name": "e", "type": "END"}]})
        for _ in range(60):
            await client.start_instance("d")
        await tab.open(f"{engine.url}/", width=1200)
        await tab.until("document.querySelectorAll('tbody tr').length === 50")
        await tab.evaluate("document.querySelector('button').click()")
        await tab.until("document.querySelectorAll('tbody tr').length === 10")
