"""docs/guarantees.md, from the figures of the last run: `python -m faults.page` writes it again after a change here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from faults import figures
from faults.result import broken

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faults.figures import Figures, Row
    from faults.result import Result

PAGE_FILE = Path(__file__).parents[2] / "docs" / "guarantees.md"

TITLES = {
    "recovery_s": "time to recover",
    "retries": "retries wasted",
    "disordered": "out of order",
    "drain_s": "drain",
    "overdrawn": "drains too long",
    "unconverged": "not converged",
    "spent": "retries spent",
    "overspent": "too many spent",
    "failed": "instances FAILED",
    "rollouts": "needless rollouts",
    "owed": "caused by the fault",
}
"""Titles of columns, if not their names."""
MARKED = {
    "unconverged": "as asked",
    "lost": "none lost",
    "duplicates": "none twice",
    "retries": "no retry",
    "rollouts": "no rollout",
    "disordered": "in order",
    "overdrawn": "drains",
    "failed": "none FAILED",
    "overspent": "few spent",
    "crashes": "no crash",
}
"""Titles of the columns of marks, which have to be narrow: what is promised about each count."""


def marks(rows: Sequence[Row]) -> str:
    """Return what was kept under each fault of a suite, the engines together."""
    names = [name for name in MARKED if any(name in row.result.promises for row in rows)]
    engines = any(row.engine for row in rows)
    faults = dict.fromkeys(row.fault for row in rows)
    return _table(
        ["fault", *["on"] * engines, *(MARKED[name] for name in names)],
        (
            [fault, *[" ".join(row.engine for row in same)] * engines, *(_mark(same, name) for name in names)]
            for fault in faults
            for same in [[row for row in rows if row.fault == fault]]
        ),
    )


def _mark(rows: Sequence[Row], name: str) -> str:
    results = [row.result for row in rows if name in row.result.promises]
    if any(getattr(result, name) for result in results):
        return "✗"
    if not results or (name == "overdrawn" and all(getattr(result, "drain_s", None) is None for result in results)):
        return "–"
    return "○" if name == "duplicates" and any(getattr(result, "owed", 0) for result in results) else "✓"


def table(rows: Sequence[Row]) -> str:
    """Return all figures of one suite. A figure that breaks a promise is bold."""
    columns = list(dict.fromkeys(name for row in rows for name in vars(row.result)))
    columns.append(columns.pop(columns.index("recovery_s")))
    engines = any(row.engine for row in rows)
    return _table(
        ["fault", *["engine"] * engines, "runs", *(TITLES.get(name, name) for name in columns)],
        (
            [row.fault, *[row.engine] * engines, f"{row.runs}", *(_cell(row.result, name) for name in columns)]
            for row in rows
        ),
    )


def _cell(result: Result, name: str) -> str:
    figure = getattr(result, name)
    text = "–" if figure is None else f"{figure:,}" if isinstance(figure, int) else f"{figure:.1f} s"
    return f"**{text}**" if result.promises.get(name) in broken(result) else text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def text(of: Figures) -> str:
    """Return the page."""
    rows = [row for suite in of.suites.values() for row in suite]
    return PAGE.format(
        machine=of.machine,
        runs=max(row.runs for row in rows),
        faults=len(
            {(suite, row.fault) for suite, found in of.suites.items() for row in found if row.fault != "no fault"}
        ),
        jobs=sum(getattr(row.result, "jobs", 0) for row in rows),
        marks="\n\n".join(f"**{suite}**\n\n{marks(found)}" for suite, found in of.suites.items()),
        tables="\n\n".join(
            f"<details markdown>\n<summary>{suite}</summary>\n{NOTES.get(suite, '')}\n{table(found)}\n\n</details>"
            for suite, found in of.suites.items()
        ),
    )


def write(of: Figures) -> None:
    """Write the page."""
    PAGE_FILE.write_text(text(of), encoding="utf-8")


NOTES = {
    "Dependency": """
What all handlers need is away for three minutes, or for one of two workers of each type. *Retries spent* are those that
it took to open the breakers; *too many spent* is what went beyond 20 for each process that failed jobs. Without the
breaker nothing is promised about either, nor about *instances FAILED*, whose jobs don't count as lost. *Time to
recover* includes up to 30 s until the next probe.
""",
    "Operator": """
Injected on a real API server with etcd and the controllers, while specs are edited and resources and children come and
go; most resources stay as they are. *Time to recover* is the time until all children were as asked for; a dead leader's
lease ends after 15 s.
""",
    "API server": """
As the operator's faults.
""",
    "Pods": """
Injected on a real node, with jobs of 1 s, instances of two jobs, and a drain timeout of 5 s; for the pod deleted by
force every tenth instance has jobs of 5 s, and the drain timeout is 1 s. *Drain* is the time from the eviction until
the pod no longer existed. The job that eats memory isn't counted: it is failed permanently after its third kill.
""",
}
"""What is to be known about a suite's figures."""

PAGE = """<!-- Written by `python -m faults --runs {runs}`; edit the text in tests/faults/page.py, then `make docs`. -->

# Guarantees

What workers promise while their engine, network, Kafka, pods or own process fails, and what the operator promises while
it or its API server fails: first what was kept by real processes with each fault injected, then the
[promises](#promises), what is [not promised](#not-promised) and why, and the [figures](#figures).

## Kept under each fault

{faults} faults and {jobs:,} jobs: {machine}. *On* are the [engines](#figures) whose rules were in force.
✓: kept. ○: kept, but the fault hit workers that had jobs, and those ran a second time, [as they must](#not-promised).
–: not promised, or nothing to keep. ✗: broken.

<div class="marks" markdown>

{marks}

</div>

## Promises

These hold on every engine in use (engines A, C and D below), and while replicas of two of them answer in turn.

- **No job lost.** An outcome is sent until the engine takes it, and only then is Kafka's offset committed. An answer
  that comes after the lease's end proves nothing: the outcome is kept, and delivered when the job is claimed again. A
  job whose worker has died is redelivered when its lease ends or its partition moves.
- **0 duplicate runs.** A worker claims only jobs that it can start at once, so no lease ends in a queue. A finished
  job's Complete is sent again; its handler isn't run again. A job that is redelivered while it still runs here isn't
  run beside itself. An event that Kafka delivers twice runs once.
- **No retry wasted.** Only handlers that fail spend retries. A lost call, a stop, a kill or an outage spends none: over
  REST and gRPC a Fail is sent again only if it provably did not arrive, and never once the job may be another worker's.
- **No instance lost to an outage.** While something that handlers need is away, their job types stop after at most 20
  failures in each process, however long it lasts. The jobs wait, no instance ends FAILED, and the pods stay ready.
- **Order per instance.** Over Kafka, an instance's jobs of one type run one after another, in the engine's order.
- **Bounded drain.** After SIGTERM a worker claims nothing, finishes its running jobs and exits as soon as it is idle.
  Jobs not done within `ROCHALLOR_DRAIN_TIMEOUT` are given up without a Fail. Leaving a Kafka group whose members are
  changing can take another session (15 s).
- **No crash loop.** No fault outside the process ends it. With a journal, a job that has killed its worker three
  times is failed permanently, and the jobs beside it are done.
- **Recovery by itself.** When the fault is over, work goes on without anyone's help, also after an upgrade or a
  downgrade of the engine under load.

These need an engine that renews leases (D), and jobs that come over REST or gRPC:

- **Long jobs.** A handler may run for hours on a lease of 30 s, through outages of less than half a lease. Elsewhere an
  async handler is interrupted at the end of its lease and its job retried; a sync one runs on, its result counts when
  its job is redelivered here, and after the third lease that it outlives the job is failed permanently. A run that
  began late in its lease, since the claim was answered late or waited for suspects of a crash, and is interrupted
  before it had two thirds of one, spends no retry.
- **No wasted work.** When an instance is cancelled, or the engine gives a job to another worker, the handler is
  stopped within a third of the lease. Elsewhere it runs on, and its result is dropped.
- **Short leases.** With `ROCHALLOR_LEASE=5s` a dead worker's jobs can be claimed within 5 to 20 s, instead of 30 to
  45 s.

The operator, whatever the engine:

- **The operator converges.** It may be killed at any moment, paused or cut off, or its API server may have been down
  and have forgotten what happened meanwhile (410 Gone): when the fault is over, each resource has what its spec asks
  for. No child object is missing or duplicated.
- **No needless rollout.** Pods are replaced when a spec, a Secret or a ConfigMap in use changes, and never because an
  operator died, was replaced or lost its leadership. Workers go on without an operator.

## Not promised

- **Exactly once.** A worker that is killed, frozen or cut off from the engine past its lease may have done a job's
  work without reporting it, so another worker runs the job again. Handlers must be idempotent by `job.key`, which
  is the same in all runs of a step; `job.id` isn't, since engines C and D give each attempt another one. Such runs are
  counted as *caused by the fault*.
- **Redelivery before the lease ends.** A lease can't be given back, and the engine looks for expired ones every 15 s. A
  job handed out in a lost answer, or to a worker that died, is redelivered up to 15 s after the end of its lease.
- **Instances without retries, while few jobs fail.** It takes 20 failures in a row to tell an outage from jobs that
  are at fault themselves. Where so few jobs of a type come that the breaker does not open, each that has no retry left
  fails its instance: give such steps more retries, or raise `Postpone`.
- **Completes at the same instant on engine A.** It checks no owner: it accepts a worker's late Complete, and two that
  it carries out at the same instant can both move an instance on. Each worker sends only one Complete of a job at a
  time, but it can't know of another worker's. Engines C and D take the outcome of the lease's owner only.
- **Only one Fail over Kafka on engine A.** Nothing would bring back a job whose Fail was lost, so a Fail is sent until
  it is answered. If a Fail arrives but its answer is lost, a second retry is spent. The same may happen if a worker is
  killed while its Fail is on its way, or is frozen (without a journal: or is killed) within the second before its
  offset is committed; if the retry has completed by then, the engine takes the second Fail all the same, and the job
  becomes FAILED. Engines C and D take the first one only.
- **Clock skew over gRPC on engines that can't renew.** Where the engine's clock is behind its database's, leases are
  shorter than they look. REST shows by how much; over gRPC a job that ends within the missing seconds is dropped by
  engine C, and runs again.
- **What proxies do.** A proxy that repeats requests by itself repeats a Poll, whose first jobs then wait until their
  lease ends, and a Fail, which spends a second retry on engine A. Turn such retries off.
- **The journal on a full disk.** While it can't be written, a crash costs as much as without a journal. The log and
  `rochallor_worker_journal_errors_total` say so, and the journal is complete again as soon as there is room. It
  reads the wall clock, to forget jobs after a day: a clock that jumps further may make it forget early.
- **Telling the culprit from a bystander.** With a journal, a job whose worker ended three times in a row while it ran
  is failed permanently, whatever ended the worker. On its last chance it runs with no other such job beside it.

## Figures

Each fault was injected as often as the column *runs* says; `make faults` repeats it on your machine, and fails if a
promise is broken. `make test` injects each fault once, smaller: on engine D, and on others where a worker has to behave
differently.

Workers are real processes, the development engine has the real one's lease (30 s) and sweep (15 s), and Kafka is a
real one. *Engine* says whose rules it follows:

| engine | in use | job ids and late outcomes | leases |
|---|---|---|---|
| A | up to v1.1.0 | one id; any outcome is taken | fixed |
| C | after v1.1.0 | an id for each attempt; late outcomes are answered and dropped | fixed |
| D | from v1.2 on | as C | renewable, as long as asked for |

Kafka has no leases, so there C and D are the same. Instances have three jobs, run one after another; in every fifth
instance each job fails once. *Caused by the fault* counts second runs of jobs whose worker was killed or frozen while
it had them, or that were taken from it. *Time to recover* is the longest time from the end of the fault, or from the
kill, until all jobs were done, including those that still waited for their first run; what that takes by itself is in
the row *no fault*. *Drain* is the longest time from SIGTERM to the end of the process, with a drain timeout of 4 s.

Jobs that kill their worker and those of cancelled instances are not counted.

{tables}
"""


if __name__ == "__main__":
    write(figures.load())
