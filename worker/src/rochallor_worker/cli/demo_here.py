"""The demo without anything else: an engine in this process, and a worker of the hello handlers in one of its own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from rochallor_worker.cli.demo import run_demo
from rochallor_worker.devengine import DevEngine
from rochallor_worker.errors import StartError

HANDLERS = "rochallor_worker.cli.hello:registry"
_PORT = re.compile(rb'"metrics_port": (\d+)')
"""In the line that a worker logs once it has started."""


async def run_here(instances: int) -> int:
    """Start an engine and a worker, then run the demo there; returns its exit status. Raises `StartError`."""
    async with DevEngine() as engine, worker(engine.url) as page:
        typer.echo(f"engine {engine.url}, worker's status page {page}")
        status = await run_demo(engine.url, instances, further="")
        if sys.stdin.isatty():
            typer.echo("Engine and worker go on until you press Enter.")
            await asyncio.to_thread(sys.stdin.readline)
    return status


@asynccontextmanager
async def worker(engine_url: str) -> AsyncIterator[str]:
    """Run a worker of the hello handlers; yields the address of its status page. Raises `StartError`."""
    settings = {"ENGINE_URL": engine_url, "METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rochallor_worker", "run", HANDLERS),
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ROCHALLOR_")},
            **{f"ROCHALLOR_{name}": value for name, value in settings.items()},
        },
        stderr=asyncio.subprocess.PIPE,
    )
    log = process.stderr
    assert log is not None  # noqa: S101 — it was asked for
    try:
        port, last = None, b""
        while port is None and (line := await log.readline()):
            port, last = _PORT.search(line), line
        if port is None:
            raise StartError(f"the demo's worker did not start: {last.decode(errors='replace').strip()}")
        rest = asyncio.create_task(log.read(), name="the rest of the worker's log")
        yield f"http://127.0.0.1:{port[1].decode()}/"
        process.terminate()
        await asyncio.wait({rest})
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
