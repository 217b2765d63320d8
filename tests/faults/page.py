"""docs/guarantees.md, from the figures of one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.page import machine
from faults.result import Result, broken

if TYPE_CHECKING:
    from collections.abc import Mapping

Matrix = dict[str, tuple[int, Result]]
"""Fault → (how often it was played, its figures)."""

PAGE_FILE = Path(__file__).parents[2] / "docs" / "guarantees.md"

TITLES = {
    "recovery_s": "time to recover",
    "retries": "retries spent by us",
    "disordered": "out of order",
    "drain_s": "drain",
    "overdrawn": "drains too long",
    "unconverged": "not converged",
    "rollouts": "needless rollouts",
    "owed": "owed to the fault",
}
"""Columns whose title is not their name."""


def table(matrix: Matrix) -> str:
    """The matrix of one suite. A figure that breaks a promise is bold."""
    columns = list(dict.fromkeys(name for _, result in matrix.values() for name in vars(result)))
    columns.append(columns.pop(columns.index("recovery_s")))
    lines = ["| " + " | ".join(["fault", "runs", *(TITLES.get(name, name) for name in columns)]) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for fault, (runs, result) in matrix.items():
        cells = [_cell(result, name) for name in columns]
        lines.append("| " + " | ".join([fault, f"{runs}", *cells]) + " |")
    return "\n".join(lines)


def _cell(result: Result, name: str) -> str:
    figure = getattr(result, name)
    text = "–" if figure is None else f"{figure:,}" if isinstance(figure, int) else f"{figure:.1f} s"
    return f"**{text}**" if result.promises.get(name) in broken(result) else text


def write(matrices: Mapping[str, Matrix]) -> None:
    """Write the page."""
    tables = "\n\n".join(f"### {name}\n\n{table(matrix)}" for name, matrix in matrices.items())
    PAGE_FILE.write_text(PAGE.format(machine=machine(), tables=tables), encoding="utf-8")


PAGE = """<!-- Written by `make faults` from one run; edit the text in tests/faults/page.py. -->

# Guarantees

What workers promise while their engine, their network, their Kafka, their pods or their own process fails, and what the
operator promises while it or its API server does; what they do not, and why; and what real processes did when each of
these faults was played.

## Promises

- **No job lost.** An outcome is sent until the engine takes it; Kafka's offset is committed only after that. A job
  whose worker is gone comes again: its lease ends, or its partition moves.
- **No needless second run.** No more jobs are claimed than can start at once, so no lease ends in a queue. A finished
  job's Complete is sent again rather than its handler run again. An event that Kafka brings twice runs once.
- **No retry spent by us.** Retries are spent by handlers that fail. A lost call, a stop, a kill or an outage spends
  none: a Fail is not sent again unless it provably did not arrive, nor at all once the job may be another worker's.
- **Order per instance.** The jobs of an instance run one after another, as the engine made them.
- **Bounded drain.** After SIGTERM a worker claims nothing, finishes what runs and ends as soon as it is idle; what is
  not done within `ROCHALLOR_DRAIN_TIMEOUT` is given up without a Fail. Leaving a Kafka group whose members change
  just then can take a session (15 s) more.
- **No crash loop.** No fault outside the process ends it. With a journal, a job that has killed its worker three
  times is failed for good.
- **The operator converges.** Killed at any moment, paused, cut off, or with an API server that was away and has
  forgotten what happened meanwhile (410 Gone): when the fault is over each resource has what its spec asks for. No
  child is lost, none is there twice.
- **No needless rollout.** Pods are replaced when a spec, a Secret or a ConfigMap in use changes, and never because an
  operator died, was replaced or lost its leadership. Workers go on without an operator.
- **Recovery by itself.** When the fault is over work goes on, without anybody's help.

## Not promised

- **Exactly once.** A worker that is killed, or stands still past its lease, may have done a job's work without having
  told anybody: the job runs again. Handlers must be idempotent by job id. Such runs are counted as *owed to the fault*.
- **Redelivery before the lease ends.** The engine's lease is 30 s and cannot be renewed or given back; expired ones are
  looked for every 15 s. A job that was given out to nobody, or to a worker that died, comes again after 30 to 45 s.
- **One Complete at a time across workers.** The engine checks no owner: the Complete of a worker that comes late is
  accepted, and two that the engine carries out in the same instant can both move an instance on. Each worker has only
  one of a job in flight; it cannot know of another worker's.
- **Fail once over Kafka.** Nothing would bring back a job whose Fail was lost, so it is sent until it is answered. A
  Fail that arrived and whose answer was lost spends a second retry, and so may one whose worker was killed, or stood
  still, within the second before its offset was committed.
- **What stands between.** A proxy that repeats requests by itself repeats a Fail, which spends a second retry, and a
  Poll, whose first jobs then wait for the end of their lease. Let it repeat none.
- **The journal on a full disk.** While it cannot be written, a crash costs what it would without one; the log and
  `rochallor_worker_journal_errors_total` say so, and it is whole again as soon as there is room. It is also the only
  part that reads the wall clock, to forget jobs after a day: a clock that jumps further than that may make it forget.
- **That a killer is told from a victim.** With a journal, a job whose worker ended three times in a row while it ran is
  failed for good, whoever ended the worker. On its last chance it runs with no other such job beside it.

## Figures

{machine}. Real worker processes, the development engine with the real one's lease (30 s) and sweep (15 s), a real
Kafka. `make faults` plays it all again on your machine, and fails when a promise is broken; `make test` plays each
fault once, smaller. Jobs are in instances of three, run one after another; in every fifth instance each job fails once.
*Owed to the fault*: second runs of jobs whose worker was killed or stood still while it had them. *Time to recover*:
the longest from the end of the fault, or from the kill, until all jobs were done, those included that still waited for
their first run. *Drain*: the longest from SIGTERM to the end of the process, with a drain timeout of 4 s.

The operator's faults are played on a real API server with etcd and the controllers, while specs are edited, resources
and children come and go; nothing is asked of most of the resources. *Time to recover* is there the time until all
children were as asked; a dead leader's lease ends after 15 s. Pods' faults are played on a real node, with jobs of 1 s,
instances of two, and a drain timeout of 5 s; *drain* is the time from the eviction until the pod was gone. The job that
eats memory is not among the jobs: it is failed for good after its third kill.

{tables}
"""
