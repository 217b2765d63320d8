"""The chain from an instance to the pods that could run its job, as lines. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rochallor_worker.why.facts import Facts, Pod, Step, Worker

_TELLS_IF_TRUE = {"Degraded", "Progressing"}
"""Conditions that say something while they are true; the others, while they are false."""


@dataclass(frozen=True, slots=True)
class Link:
    """One line of the chain."""

    what: str
    found: str


def chain(facts: Facts) -> Iterator[Link]:
    """Yield what is known, from the instance to the pods."""
    if not facts.instance_id:
        return
    began = ago(facts.now, facts.started_at)
    yield Link("instance", f"{facts.instance_id} of {facts.definition}: {facts.status}, started {began} ago")
    for step in facts.steps:
        yield Link("step", f"{step.id}: {step.kind or 'of a type that is not known'}, for {ago(facts.now, step.since)}")
        if step.job_type:
            yield Link("job type", step.job_type)
            yield from _workers(facts, step)


def _workers(facts: Facts, step: Step) -> Iterator[Link]:
    serving = [worker for worker in facts.workers or () if step.job_type in worker.job_types]
    if not serving:
        yield Link("workers", "not known" if facts.workers is None else "none takes this type")
    for worker in serving:
        yield Link("worker", f"{worker.name}: {_described(worker)}")
        for pod in worker.pods:
            yield Link("pod", f"{pod.name}: {_pod(pod, step.job_type)}")


def _described(worker: Worker) -> str:
    parts = [f"engine {worker.engine}"] if worker.engine else []
    if worker.conditions or worker.wanted is not None:
        parts.append(f"{worker.ready} pods ready" + ("" if worker.wanted is None else f", {worker.wanted} wanted"))
    told = [one for one in worker.conditions if one.type == "Ready" or one.holds is (one.type in _TELLS_IF_TRUE)]
    parts += [f"{one.type} is {one.status} ({one.reason}: {one.message})" for one in told]
    return "; ".join(parts) or "not in Kubernetes"


def _pod(pod: Pod, job_type: str) -> str:
    parts = ["ready" if pod.ready else "not ready"]
    answer = pod.answer
    if answer is None:
        return f"{parts[0]}; what it does is not known"
    parts += [answer.problem] if answer.problem else []
    parts.append(f"{answer.slots.busy} of {answer.slots.total} slots busy")
    if (kind := answer.of(job_type)) is not None:
        limit = "" if kind.parallelism is None else f", at most {kind.parallelism}"
        parts.append(f"of this type: {kind.running} running{limit}, {kind.parked} postponed, breaker {kind.breaker}")
    return "; ".join(parts)


def ago(now: datetime, then: datetime | None) -> str:
    """Return how long something lasts, in one unit."""
    if then is None:
        return "an unknown time"
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())
