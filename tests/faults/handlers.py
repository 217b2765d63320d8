"""The handlers of a site's workers, as the text of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from faults.ledger import NOTES

if TYPE_CHECKING:
    from collections.abc import Iterable

HandlerName = Literal["work", "work_in_a_thread", "call"]

RETRIES = 2

_CODE = """
import asyncio, signal, time
from pathlib import Path
from rochallor_worker import Job, Registry
{NOTES}
registry = Registry()

async def work(job: Job) -> None:
    note("begin", job)
    try:
        await asyncio.sleep(job.variables["seconds"])
    except asyncio.CancelledError:
        note("stop", job)
        raise
    if (order := Path(f"block-{os.getpid()}")).exists():
        seconds = float(order.read_text())
        order.unlink()
        time.sleep(seconds)
    end(job)

def work_in_a_thread(job: Job) -> None:
    note("begin", job)
    time.sleep(job.variables["seconds"])
    end(job)

async def call(job: Job) -> None:
    # needs a dependency, which is away while there is a file: one for all processes, or this one's
    note("begin", job)
    await asyncio.sleep(job.variables["seconds"])
    if Path("away").exists() or Path(f"away-{os.getpid()}").exists():
        note("raise", job)
        raise ConnectionError("the dependency is away")
    end(job)

def end(job: Job) -> None:
    if job.variables["kills"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.variables["fails"] and job.retries_remaining == {RETRIES}:
        note("raise", job)
        raise ValueError("not yet")
    note("end", job)

for job_type in {JOB_TYPES}:
    registry.handler(job_type)({HANDLER})
"""


def handlers(job_types: Iterable[str], handler: HandlerName) -> str:
    """Return the module: each job type has this handler, which does what the instance's variables say."""
    given = {"NOTES": NOTES, "RETRIES": f"{RETRIES}", "JOB_TYPES": f"{[*job_types]}", "HANDLER": handler}
    code = _CODE
    for name, text in given.items():
        code = code.replace(f"{{{name}}}", text)
    return code
