"""The demo's load: starts instances of the hello definition, shows their progress, and checks how they ended.

Hello is three tasks in a row: `hello-fetch`, `hello-price` and `hello-ship`. Every tenth instance has an address that
cannot be shipped to and must end FAILED; the others must end COMPLETED. `hello-ship` fails the job of every third order
once and puts the number of its runs into `attempts`: the engine's history has one entry per step, however often its job
was retried.
"""

import asyncio
import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from rochallor_worker.asking.calls import each
from rochallor_worker.engine.client import EngineClient, Instance, InstanceStatus
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, Unreachable

STEPS = ("fetch", "price", "ship")
HELLO: dict[str, Any] = {
    "id": "hello",
    "name": "Hello",
    "description": "Fetch an order, price it, ship it",
    "steps": [
        {
            "id": step,
            "name": step.capitalize(),
            "type": "SERVICE_TASK",
            "jobType": f"hello-{step}",
            "retryCount": 2,
            "nextStep": following,
        }
        for step, following in zip(STEPS, (*STEPS[1:], "end"), strict=True)
    ]
    + [{"id": "end", "name": "End", "type": "END"}],
}

CHECK_SECONDS = 0.25
"""How often the engine is asked which instances are still running."""
STALL_SECONDS = 120.0
"""The demo gives up when no instance has ended for this long."""
HINT_SECONDS = 10.0
"""The demo asks whether there is a worker when no instance has ended for this long."""
_PAGE_SIZE = 200
IN_A_CLUSTER = (
    "Next, see [bold]kubectl get rw[/], and the worker's status page and metrics at / and /metrics on port 9090 "
    "([bold]kubectl port-forward deploy/hello 9090[/])."
)


async def run_demo(engine_url: str, instances: int, further: str = IN_A_CLUSTER) -> int:
    """Start that many instances and wait until they have ended; return 0 if each ended as it must, else 1.

    `further` says at the end where to look next.
    """
    console = Console()
    try:
        async with RestClient(engine_url) as engine:
            right = await _run(engine, instances, console)
    except EngineError as error:
        console.print(f"demo: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    if further:
        console.print(further, highlight=False)
    return 0 if right else 1


async def _run(engine: EngineClient, instances: int, console: Console) -> bool:
    began = time.monotonic()
    version = (await engine.upload_definition(HELLO)).version
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("started", total=instances)

        async def start(number: int) -> tuple[str, InstanceStatus]:
            started = await engine.start_instance("hello", _order(number), version=version)
            progress.advance(bar)
            return started.id, _right_end(number)

        right_ends = dict(await each(start, range(instances)))
        bar = progress.add_task("ended  ", total=instances)
        await _wait_for_ends(engine, set(right_ends), progress, bar)

    seconds = time.monotonic() - began
    ends = await each(engine.get_instance, right_ends)
    histories = await each(engine.get_instance_history, right_ends)
    jobs = sum(entry.step_type == "SERVICE_TASK" and entry.ended_at is not None for one in histories for entry in one)
    _report(console, right_ends, ends, jobs / seconds)
    return all(end.status is right_ends[end.id] for end in ends)


def _order(number: int) -> dict[str, Any]:
    bad = _right_end(number) is InstanceStatus.FAILED
    return {"order": number, "quantity": number % 5 + 1, "address": "" if bad else f"{number} Harbour Street"}


def _right_end(number: int) -> InstanceStatus:
    return InstanceStatus.FAILED if number % 10 == 9 else InstanceStatus.COMPLETED


async def _wait_for_ends(engine: EngineClient, ids: set[str], progress: Progress, bar: TaskID) -> None:
    """Wait until no instance is running, or none has ended for `STALL_SECONDS`."""
    ended, progressed_at, shown = 0, time.monotonic(), ""
    while True:
        note = ""
        try:
            now_ended = len(ids) - len(await _running(engine, ids))
        except (Unreachable, AnswerLost, InternalError) as error:
            now_ended, note = ended, f"the engine is not available: {error}"
        if now_ended > ended:
            ended, progressed_at = now_ended, time.monotonic()
        stalled = time.monotonic() - progressed_at
        if not note and stalled > HINT_SECONDS:
            note = (
                f"no instance has ended for {HINT_SECONDS:.0f} s: is a worker for hello-fetch, hello-price and "
                "hello-ship running? (The jobs of a worker that crashed are redelivered after 30–45 s.)"
            )
        if note not in {"", shown}:
            progress.console.print(note, markup=False, highlight=False, soft_wrap=True)
            shown = note
        progress.update(bar, completed=ended)
        if ended == len(ids) or stalled > STALL_SECONDS:
            return
        await asyncio.sleep(CHECK_SECONDS)


async def _running(engine: EngineClient, ids: set[str]) -> set[str]:
    """Return which of the instances are running.

    A listing that shrinks while it is paged through can skip some: once it names none, each instance is looked up.
    """
    found: set[str] = set()
    page = 0
    while True:
        listing = await engine.list_instances(
            definition_id="hello", status=InstanceStatus.ACTIVE, page=page, page_size=_PAGE_SIZE
        )
        found.update(one.id for one in listing.items)
        page += 1
        if page * _PAGE_SIZE >= listing.total:
            break
    if found & ids:
        return found & ids
    return {one.id for one in await each(engine.get_instance, ids) if one.status is InstanceStatus.ACTIVE}


def _report(
    console: Console, right_ends: dict[str, InstanceStatus], ends: list[Instance], jobs_per_second: float
) -> None:
    table = Table("instances", "must be", "are", title="hello")
    wanted: Counter[str] = Counter(right_ends.values())
    found = Counter(end.status for end in ends)
    for status in sorted(wanted | found):
        colour = "green" if wanted[status] == found[status] else "red"
        table.add_row(status, str(wanted[status]), f"[{colour}]{found[status]}[/]")
    wrong = [end for end in ends if end.status is not right_ends[end.id]]
    table.add_section()
    table.add_row("in the right state", str(len(ends)), str(len(ends) - len(wrong)))
    console.print(table)
    attempts = [end.variables["attempts"] for end in ends if end.variables and "attempts" in end.variables]
    console.print(
        f"{jobs_per_second:.0f} jobs/s, {sum(attempts) - len(attempts)} retries reported by hello-ship", highlight=False
    )
    for end in wrong[:5]:
        console.print(
            f"{end.id}: {end.status} at {', '.join(end.current_step_ids or ()) or 'its end'}, "
            f"must be {right_ends[end.id]}. {end.failure_reason}",
            markup=False,
            soft_wrap=True,
        )
