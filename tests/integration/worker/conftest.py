import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from rochallor_worker.devengine import DevEngine
from scrape import total

WITHIN_S = 100.0
"""Whatever has not happened this long after it was due never will."""

MODULE = "my_handlers.py"
HANDLERS = """
import asyncio, os, time
from rochallor_worker import Job, NonRetryableError, Registry

registry = Registry()

@registry.handler("quick")
async def quick(job: Job) -> dict:
    return {"seen": job.variables.get("n")}

@registry.handler("brief")
async def brief(job: Job) -> None:
    await asyncio.sleep(0.05)

@registry.handler("held")
async def held(job: Job) -> None:
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)

@registry.handler("blocking")
def blocking(job: Job) -> None:
    time.sleep(60)

@registry.handler("picky")
def picky(job: Job) -> None:
    raise NonRetryableError("never")
"""


class Worker:
    """A worker process and the log it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self.url = ""
        self._more = asyncio.Condition()
        assert process.stderr is not None
        self._reader = asyncio.create_task(self._read(process.stderr))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            async with self._more:
                self.log += line.decode()
                self._more.notify_all()

    async def logged(self, text: str) -> None:
        """Wait for a text in the log."""
        try:
            async with asyncio.timeout(WITHIN_S), self._more:
                await self._more.wait_for(lambda: text in self.log)
        except TimeoutError:
            raise AssertionError(f"{text!r} was not logged within {WITHIN_S:.0f} s; the log:\n{self.log}") from None

    async def started(self) -> "Worker":
        await self.logged('"metrics_port"')
        found = re.search(r'"metrics_port": (\d+)', self.log)
        assert found is not None
        self.url = f"http://127.0.0.1:{found[1]}"
        return self

    async def get(self, path: str) -> httpx.Response:
        # without TLS: to read the CAs for each call takes longer than the call, and keeps the engine's loop busy
        async with httpx.AsyncClient(timeout=WITHIN_S, verify=False) as http:  # noqa: S501
            return await http.get(self.url + path)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return total((await self.get("/metrics")).text, name)

    async def shows(self, metric: str, value: float) -> None:
        """Wait until a metric, summed over its labels, has a value."""
        async with asyncio.timeout(WITHIN_S):
            while await self.metric(metric) != value:  # noqa: ASYNC110 — another process
                await asyncio.sleep(0.05)

    async def answers(self, path: str, status: int) -> None:
        """Wait until a path answers with a status."""
        async with asyncio.timeout(WITHIN_S):
            while (await self.get(path)).status_code != status:  # noqa: ASYNC110 — another process
                await asyncio.sleep(0.02)

    async def reports(self, problem: str) -> str:
        """Wait until it is not ready for a reason that begins like this; returns all of it."""
        answer = None
        try:
            async with asyncio.timeout(WITHIN_S):
                while answer is None or answer.status_code != 503 or not answer.text.startswith(problem):
                    await asyncio.sleep(0.02)
                    answer = await self.get("/readyz")
        except TimeoutError:
            last = None if answer is None else answer.text
            raise AssertionError(f"/readyz did not report {problem!r} within {WITHIN_S:.0f} s, but {last!r}") from None
        return answer.text

    async def ended(self) -> int:
        """Wait for the end of the process; returns its exit status."""
        async with asyncio.timeout(WITHIN_S):
            status = await self.process.wait()
            await self._reader
        return status


@asynccontextmanager
async def worker_process(
    folder: Path,
    engine: str,
    variables: Mapping[str, str] | None = None,
    /,
    *options: str,
    code: str = HANDLERS,
    **settings: str,
) -> AsyncIterator[Worker]:
    """Run `rochallor-worker run` with a free metrics port; ended at the end if it still runs.

    `variables` are environment variables other than the worker's settings, `options` those of the command.
    """
    module = folder / MODULE
    if not module.exists() or module.read_text() != code:  # another worker may be importing it
        module.write_text(code)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ROCHALLOR_")},
        **(variables or {}),
        "PYTHONPATH": str(folder),
        "ROCHALLOR_HANDLERS": "my_handlers:registry",
        "ROCHALLOR_ENGINE_URL": engine,
        "ROCHALLOR_METRICS_PORT": "0",
        **{f"ROCHALLOR_{name.upper()}": value for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rochallor_worker", "run", *options),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
    )
    worker = Worker(process)
    try:
        yield worker
    finally:
        if process.returncode is None:
            # killed, `--reload` would leave the worker that it has started
            process.send_signal(signal.SIGTERM if "--reload" in options else signal.SIGKILL)
        await worker.ended()
        (folder / f"worker-{process.pid}.log").write_text(worker.log)  # to investigate a failure


@pytest.fixture
async def engine() -> AsyncIterator[DevEngine]:
    async with DevEngine() as running:
        yield running
