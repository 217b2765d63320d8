"""docs/operator-benchmarks.md, from the results of one run."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    from bench.operator import Grown, Restarted

DOCS = Path(__file__).parents[2] / "docs"

MANY = 50_000
RESYNC_S = 480
"""About how long one resync of everything takes."""
QUESTION_S = 105
"""About how often the pods of a resource are asked whether a breaker is open."""

PAGE = """<!-- Written by `make bench-operator-docs` from one run; edit the text in tests/bench/operator_page.py. -->

# The operator with thousands of resources

{machine}.
`make bench-operator` repeats it on your machine.

One operator, as the chart starts it, against a real API server with etcd. Each resource has one pod, and a Secret with
the engine's token that 1 % of them share. There are no controllers and no pods: a stand-in reports each Deployment as
rolled out. Operator, API server, etcd, the stand-in and whatever else runs on the machine share its processors, so
times say more about the load than about the operator. A queue costs calls as well: what the watches have shown is kept
for a minute and then read again, and a Deployment that isn't complete is looked at every few seconds.

*Churn*: each second, 1 % of the resources are edited so that their pods are replaced, and the Secret of another 1 %
changes. *Nothing changes*: every resource is reconciled within ten minutes, and its pods are asked every two minutes
whether a breaker is open.

{table}

## What breaks first with 50,000

On paper, from the last column. The operator is one process, on one core.

{extrapolated}

1. **The cluster.** Kubernetes is
   [tested](https://github.com/kubernetes/community/blob/master/sig-scalability/configs-and-limits/thresholds.md) with
   up to 10,000 Services, and with 2,000 Deployments and 3,000 pods of a namespace. Each worker has a Service, a
   Deployment and pods. So use several clusters, or fewer resources with more job types and pods each, before the
   operator is the limit.
2. **Memory.** The operator is killed where the chart's limit ends. Raise `resources.limits.memory`.
3. **A restart**, or an upgrade of the operator: each resource is reconciled, and each of its objects applied once,
   which changes nothing. Until its turn comes, an edit has no effect. Namespaces take turns, so a small one doesn't
   wait for a large one. Workers keep running.
4. **The resync.** It waits while more than 100 resources are queued. So it takes longer than ten minutes, and edits go
   first. All that is found later is what the watches have missed.

The lists with which a watch begins are no limit: they are read 100 objects at a time.

## Several operators

The chart's `watchNamespaces` divides the work. Install it once for each group of namespaces, each time under another
name, and all but one with `crds.install: false`. The figures above are then divided by the number of releases, and each
has rights in its own namespaces only. Two releases that serve one namespace by mistake don't fight: [one of them leaves
it to the other](troubleshooting.md#severaloperators).

A label selector isn't offered. Each operator would also have to select its resources' objects, so they would all need
the label. And a resource whose label has changed would wait for minutes, until the operator that it was taken from has
given no sign of life.
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


def write(where: str, rows: Sequence[Row], size: Grown, restarts: Sequence[Restarted], idle_s: float) -> None:
    """Write the page; `size` and the last of the `restarts` have the most resources."""
    counts = sorted({row.resources for row in rows})
    values = {(row.figure, row.resources): row.value for row in rows}
    figures = dict.fromkeys(row.figure for row in rows)
    table = _table(
        ["", *(f"{count:,} resources" for count in counts)],
        ([figure, *(values.get((figure, count), "") for count in counts)] for figure in figures),
    )
    head = ["", f"{size.resources:,} resources", f"{MANY:,} resources"]
    extrapolated = _table(head, _extrapolated(size, restarts, idle_s))
    page = PAGE.format(machine=where, table=table, extrapolated=extrapolated)
    (DOCS / "operator-benchmarks.md").write_text(page, encoding="utf-8")


def _extrapolated(size: Grown, restarts: Sequence[Restarted], idle_s: float) -> Iterator[list[str]]:
    first, last = restarts[0], restarts[-1]
    times = MANY / last.resources
    each = (last.megabytes - first.megabytes) / (last.resources - first.resources)
    memory = last.megabytes + each * (MANY - last.resources)
    yield ["memory after a restart", f"{last.megabytes:.0f} MB", f"{memory:,.0f} MB"]
    yield ["CPU time of a restart", f"{last.cpu / 60:.1f} min", f"{last.cpu * times / 60:.0f} min"]
    idle = size.idle_cpu / idle_s
    yield ["CPU when nothing changes", f"{idle:.0%} of a core", f"{idle * times:.0%} of a core"]
    resync = last.resources / RESYNC_S
    yield ["resync: reconciles", f"{resync:.0f} per second", f"{resync * times:.0f} per second"]
    asked = last.resources / QUESTION_S
    yield ["lists of a resource's pods", f"{asked:.0f} per second", f"{asked * times:.0f} per second"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
