"""`rochallor-worker top`: what every worker does right now."""

import asyncio
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from rochallor_worker.cli.calling import AsJson, told
from rochallor_worker.cli.output import Shown, present, printable, table
from rochallor_worker.cli.why import Context, Namespace, Pages
from rochallor_worker.why.facts import Pod

COLUMNS = ("worker", "pod", "state", "slots", "jobs/s", "oldest job", "postponed", "breakers open", "Kafka lag")


def top(
    namespace: Namespace = "",
    context: Context = "",
    page: Pages = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and not again until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what workers do: slots, jobs per second, the oldest job, lag; --json prints it once.

    Workers in Kubernetes are found through `kubectl`, with its own configuration; with `--page`, only those are shown.
    """
    from rochallor_worker.why.fleet import fleet  # noqa: PLC0415 — it loads much
    from rochallor_worker.why.kubectl import Kubectl  # noqa: PLC0415

    async def look() -> Shown:
        found = await fleet(None if page else Kubectl(namespace, context), page or (), lambda _: True)
        pods = [(worker.name, pod) for worker in found.workers or () for pod in worker.pods]
        people = table(COLUMNS, ((worker, pod.name, *_cells(pod)) for worker, pod in pods))
        unknown = [Text(printable(f"not known: {one}"), style="yellow") for one in found.unknown]
        program = {"pods": [{"worker": worker, "pod": pod} for worker, pod in pods], "unknown": found.unknown}
        return Shown(Group(people, *unknown), program)

    with told():
        asyncio.run(present(look, as_json=as_json, again=not (once or as_json)))


def _cells(pod: Pod) -> tuple[object, ...]:
    answer = pod.answer
    if answer is None:
        return "ready" if pod.ready else "not ready", *["–"] * 6
    oldest = max((job.age for job in answer.jobs), default=None)
    return (
        answer.problem.partition(":")[0] or "ready",
        f"{answer.slots.busy} of {answer.slots.total}",
        f"{sum(kind.rate for kind in answer.types):.1f}",
        "–" if oldest is None else f"{oldest:.0f} s",
        sum(kind.parked for kind in answer.types),
        ", ".join(kind.name for kind in answer.types if kind.breaker == "open") or "–",
        answer.kafka_lag if answer.transport == "kafka" else "–",
    )
