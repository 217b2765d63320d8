"""The status page at `/`: the state of a worker at a glance, for the person on call."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version

from rochallor_worker.events import Event, Executed, Reported
from rochallor_worker.execution.gates import Gate
from rochallor_worker.execution.runner import Runner
from rochallor_worker.observability.http import not_ready
from rochallor_worker.observability.sampler import Sampler

RATE_SECONDS = 60
"""Rates are means over this time."""

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.3rem}table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid #d8dee6;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#17703c}.bad{color:#b3261e}
@media(prefers-color-scheme:dark){body{color:#e3e8ef;background:#14181f}th,td{border-color:#333c49}
.ok{color:#58c98a}.bad{color:#ff8a80}}
"""


@dataclass(slots=True)
class TypeActivity:
    """One job type since the start of the process."""

    completed: int = 0
    retried: int = 0
    """Runs that failed and were retried."""
    failed: int = 0
    """Jobs that failed permanently, and their instances with them."""
    last_error: str = ""
    last_error_at: datetime | None = None
    ends: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RATE_SECONDS))
    """(second, jobs that ended in it), the newest last."""


class Activity:
    """Counts, rate and last error of each job type; `observe` is an `Observer`. `clock` returns seconds."""

    def __init__(self, job_types: list[str], clock: Callable[[], float]) -> None:
        self.types = {job_type: TypeActivity() for job_type in job_types}
        self._clock = clock
        self._started_at = clock()

    def observe(self, event: Event) -> None:
        """Record one event."""
        match event:
            case Executed(job_type, outcome, _, message) if outcome != "completed":
                self.types[job_type].last_error = message
                self.types[job_type].last_error_at = datetime.now(UTC)
            case Reported(job_type, outcome, "accepted", _):
                activity = self.types[job_type]
                match outcome:
                    case "completed":
                        activity.completed += 1
                    case "failed_retryable":
                        activity.retried += 1
                    case "failed_final":
                        activity.failed += 1
                self._count(activity.ends)
            case _:
                pass

    def rate(self, job_type: str) -> float:
        """Return how many jobs of a type ended per second, over the last minute."""
        now = self._clock()
        ended = sum(count for second, count in self.types[job_type].ends if second > now - RATE_SECONDS)
        return ended / max(1.0, min(RATE_SECONDS, now - self._started_at))

    def _count(self, ends: deque[tuple[int, int]]) -> None:
        second = int(self._clock())
        if ends and ends[-1][0] == second:
            ends[-1] = (second, ends[-1][1] + 1)
        else:
            ends.append((second, 1))


def render(runner: Runner, activity: Activity, sampler: Sampler, *, transport: str, worker_id: str) -> str:
    """Return the page as HTML. Everything from outside is escaped."""
    problem = not_ready(runner)
    state = f'<span class="bad">{escape(problem)}</span>' if problem else '<span class="ok">ready</span>'
    facts = {
        "state": state,
        "slots": f"{runner.slots.busy} of {runner.slots.total} busy, {sampler.utilization:.0%} over the last 15 s",
        "waiting": f"jobs that started in the last 15 s had waited {sampler.recent_wait:.3g} s on average",
        "transport": escape(transport),
        "event loop": f"at most {sampler.loop_lag * 1000:.0f} ms late in the last 15 s",
        "journal": f"{len(runner.journal)} jobs, {runner.journal.errors} write errors",
        "version": escape(version("rochallor-worker")),
    }
    rows = "".join(_row(activity, runner.gates[job_type]) for job_type in activity.types)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(worker_id)}</title>'
        f"<style>{_STYLE}</style><h1>rochallor worker {escape(worker_id)}</h1><table>"
        + "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items())
        + "</table><table><tr><th>job type</th><th>jobs/s</th><th>completed</th>"
        "<th>retried</th><th>failed</th><th>parked</th><th>breaker</th><th>last error</th></tr>"
        + rows
        + '</table><p><a href="metrics">metrics</a></p></html>'
    )


def _row(activity: Activity, gate: Gate) -> str:
    job_type, seen = gate.job_type, activity.types[gate.job_type]
    breaker = '<span class="bad">open</span>' if gate.circuit.open else "closed" if gate.circuit.breaker else "off"
    at = f"{seen.last_error_at:%Y-%m-%d %H:%M:%S} UTC: " if seen.last_error_at else ""
    return (
        f'<tr><td>{escape(job_type)}</td><td class="n">{activity.rate(job_type):.1f}</td>'
        f'<td class="n">{seen.completed}</td><td class="n">{seen.retried}</td><td class="n">{seen.failed}</td>'
        f'<td class="n">{gate.parked}</td><td>{breaker}</td>'
        f"<td>{escape(at + seen.last_error) or '–'}</td></tr>"
    )
