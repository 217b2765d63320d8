"""docs/operator-benchmarks.md, from the results of one run."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

    from bench.operator import Grown, Restarted

DOCS = Path(__file__).parents[2] / "docs"

PAGE = """<!-- Written by `make bench-operator-docs` from one run; edit the text in tests/bench/operator_page.py. -->

# The operator with thousands of resources

{machine}. `make bench-operator` repeats it on your machine.

One operator, as the chart starts it, against a real API server with etcd. Each resource has one pod, and a Secret with
the engine's token that 1 % of them share. There are no controllers and no pods: a stand-in reports each Deployment as
rolled out. Operator, API server, etcd, the stand-in and whatever else runs on the machine share its processors, so times
say more about the load than about the operator. Calls, memory and CPU time of the operator don't depend on it.

*Churn*: for a minute, each second 1 % of the resources are edited so that their pods are replaced, and the Secret of
another 1 % changes. *Nothing changes*: what a resync of every resource within ten minutes and the question to ready pods
whether a breaker is open cost.

{table}
"""


class Row(NamedTuple):
    """A figure with so many resources."""

    figure: str
    resources: int
    value: str


def few(resources: int, edits: Sequence[float], recreations: Sequence[float]) -> Iterator[Row]:
    """Format what is measured with few resources."""
    yield Row("edit → its Deployment", resources, _latency(edits))
    longest = f"p50 {median(recreations):.2f} s, longest {recreations[-1]:.2f} s"
    yield Row("Deployment deleted → recreated", resources, longest)


def grown(one: Grown, idle_s: float) -> Iterator[Row]:
    """Format what is measured with many."""
    more, churn = one.resources - one.before, one.churn
    named = {
        "new resources": f"{more:,} more, created in {one.created:.0f} s",
        "first create → all available": f"{one.available:.0f} s",
        "first create → last write": f"{one.steady:.0f} s",
        "API calls for a new one": _shares(one.calls, more),
        "CPU for a new one": f"{one.cpu / more * 1000:.0f} ms",
        "nothing changes: API calls": _per_second(one.idle, idle_s),
        "nothing changes: CPU": f"{one.idle_cpu / idle_s:.1%} of a core",
        "edit → its Deployment": _latency(one.edits),
        "memory": f"{one.megabytes:.0f} MB",
        "churn: edits": f"{len(churn.edits):,}",
        "churn: edit → its Deployment": _latency(churn.edits),
        "churn: last edit → last write": f"{churn.steady:.0f} s",
        "churn: API calls per edit": _shares(churn.calls, len(churn.edits)),
        "churn: CPU per edit": f"{churn.cpu / len(churn.edits) * 1000:.0f} ms",
        "churn: memory afterwards": f"{churn.megabytes:.0f} MB",
    }
    yield from (Row(figure, one.resources, value) for figure, value in named.items())


def restarted(one: Restarted) -> Iterator[Row]:
    """Format what is measured with a new process."""
    yield Row("restart → all reconciled", one.resources, f"{one.seconds:.0f} s")
    yield Row("restart: API calls for each", one.resources, _shares(one.calls, one.resources))
    yield Row("restart: CPU for each", one.resources, f"{one.cpu / one.resources * 1000:.0f} ms")
    yield Row("restart: memory", one.resources, f"{one.megabytes:.0f} MB")


def write(where: str, rows: Sequence[Row]) -> None:
    """Write the page."""
    counts = sorted({row.resources for row in rows})
    values = {(row.figure, row.resources): row.value for row in rows}
    lines = [["", *(f"{count:,} resources" for count in counts)], ["---"] * (len(counts) + 1)]
    for figure in dict.fromkeys(row.figure for row in rows):
        lines.append([figure, *(values.get((figure, count), "") for count in counts)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (DOCS / "operator-benchmarks.md").write_text(PAGE.format(machine=where, table=table), encoding="utf-8")


def _latency(seconds: Sequence[float]) -> str:
    return f"p50 {median(seconds):.2f} s, p99 {seconds[int(0.99 * len(seconds)) - 1]:.2f} s"


def _shares(calls: Counter[str], count: int) -> str:
    return f"{sum(calls.values()) / count:.1f}: {_listed(calls, count)}"


def _per_second(calls: Counter[str], seconds: float) -> str:
    return f"{sum(calls.values()) / seconds:.1f} per second: {_listed(calls, seconds)}"


def _listed(calls: Counter[str], divisor: float) -> str:
    """The shares of the kinds of calls, without the rare ones."""
    shares = ((call, number / divisor) for call, number in calls.most_common())
    return ", ".join(f"{call} {share:.1f}" for call, share in shares if share >= 0.05)
