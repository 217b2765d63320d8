"""What keeps workers from taking a job. Pure.

One worker, and one pod of it, that could take the job is enough: the others' obstacles don't matter then.
"""

import difflib
from collections.abc import Iterator
from datetime import timedelta

from rochallor_worker.why.facts import DEFAULT_LEASE, Answer, Facts, JobState, Step, TypeState, Worker
from rochallor_worker.why.stops import Stop, best, of_reason

SWEEP_SECONDS = 15.0
"""How often the engine recovers leases that have ended (engine.md)."""
NOT_TAKEN = "troubleshooting.md#ready-but-no-jobs-get-done"
NO_OPERATOR = "production.md#rochalloroperatordown"


def task(facts: Facts, step: Step) -> Stop:
    """Return what keeps the job of a step."""
    if facts.workers is None:
        return Stop("unknown", f"nobody could be asked which workers take jobs of type {step.job_type!r}")
    serving = [worker for worker in facts.workers if step.job_type in worker.job_types]
    for worker in serving:
        for pod in worker.pods:
            job = pod.answer.job_of(facts.instance_id, step.job_type) if pod.answer is not None else None
            if pod.answer is not None and job is not None:
                return next(_held(f"{pod.name} of {worker.name}", pod.answer, job))
    if not serving:
        return _nobody(facts, facts.workers, step.job_type)
    return best(_worker(facts, step, worker) for worker in serving)


def _held(name: str, answer: Answer, job: JobState) -> Iterator[Stop]:
    """Yield what the worker that has the job does with it, the first thing first."""
    kind = answer.of(job.type)
    if job.parked and kind is not None and kind.breaker == "open":
        yield _breaker(name, kind)
    if job.parked:
        yield Stop(
            "waits", f"its job is postponed, and waits in {name} for its next run", "handlers.md#not-now-postpone"
        )
    if job.ended and answer.problem:
        yield _problem(name, answer)
    if job.ended:
        why = f"its run has ended in {name}: a retry's backoff goes on, or the outcome is on its way"
        yield Stop("waits", why, "handlers.md#errors-and-retries-of-one-handler")
    running = f"its handler runs in {name} for {job.age:.0f} s"
    if job.left is None:
        yield Stop("moves", running)
    elif job.left <= 0:
        yield Stop("stops", f"{running}, past its lease", "troubleshooting.md#handlers-that-outlive-their-lease")
    else:
        yield Stop("moves", f"{running}; its lease holds for {job.left:.0f} s")


def _nobody(facts: Facts, workers: tuple[Worker, ...], job_type: str) -> Stop:
    near = difflib.get_close_matches(job_type, sorted({one for worker in workers for one in worker.job_types}), 1)
    hint = f"; {near[0]!r} is served: is one of them misspelt?" if near else ""
    if not facts.all_workers:
        return Stop("unknown", f"no worker that could be asked takes jobs of type {job_type!r}{hint}", NOT_TAKEN)
    return Stop("stops", f"no worker takes jobs of type {job_type!r}{hint}", NOT_TAKEN)


def _worker(facts: Facts, step: Step, worker: Worker) -> Stop:
    ready = [pod for pod in worker.pods if pod.ready]
    if worker.ready == 0 and not ready:
        return next(_without_pods(worker))
    answers = [(f"{pod.name} of {worker.name}", pod.answer) for pod in ready if pod.answer is not None]
    asked = [next(_in_pod(name, answer, step, worker)) for name, answer in answers]
    if not asked or (len(asked) < max(len(ready), worker.ready) and best(asked).state == "stops"):
        return _not_asked(worker)
    found = best(asked)
    return found if found.state != "moves" else next(_left_alone(facts, step, worker), found)


def _without_pods(worker: Worker) -> Iterator[Stop]:
    """Yield why a worker has no ready pod, the first reason first."""
    name = worker.name
    if worker.suspended:
        yield of_reason(name, "Suspended", "spec.suspend is true")
    for pod in worker.pods:
        if pod.answer is not None and pod.answer.problem:
            yield _problem(f"{pod.name} of {name}", pod.answer)
    if not worker.observed:
        yield _unseen(worker)
    for kind, bad in (("Degraded", True), ("Ready", False), ("AutoscalerReady", False), ("Ready", True)):
        found = worker.condition(kind)
        if found is not None and found.holds is bad:
            yield of_reason(name, found.reason, found.message)
    yield of_reason(name, "PodsNotReady", "it has no ready pod")


def _in_pod(name: str, answer: Answer, step: Step, worker: Worker) -> Iterator[Stop]:
    """Yield what keeps a ready pod from taking a job, the first reason first; at last that nothing does."""
    if answer.problem:
        yield _problem(name, answer)
    kind = answer.of(step.job_type)
    if kind is None:
        yield next(_older(name, step, worker))
        return
    if kind.breaker == "open":
        yield _breaker(name, kind)
    if kind.parallelism is not None and kind.running >= kind.parallelism:
        why = f"{name} runs as many jobs of type {step.job_type!r} as its limit allows: {kind.running}"
        yield Stop("stops", why, "operator.md#limits")
    if 0 < answer.slots.total <= answer.slots.busy:
        yield Stop(
            "stops", f"no slot of {name} is free, of {answer.slots.total}", "production.md#rochallorworkersaturated"
        )
    if kind.per_second is not None:
        why = f"{name} begins {kind.per_second:g} runs a second of type {step.job_type!r}: others may be first"
        yield Stop("waits", why, "operator.md#limits")
    yield Stop("moves", f"nothing that is known: {name} has room for its job")


def _older(name: str, step: Step, worker: Worker) -> Iterator[Stop]:
    """Yield why a ready pod is of a version that lacks a job type of the resource, the first reason first."""
    if not worker.observed:
        yield _unseen(worker)
    lacks = f"its version of the worker does not take {step.job_type!r}"
    for kind, bad in (("Ready", False), ("Progressing", True), ("Degraded", True)):
        found = worker.condition(kind)
        if found is not None and found.holds is bad:
            yield of_reason(name, found.reason, f"{lacks}: {found.message}")
    yield of_reason(name, "RollingOut", lacks)


def _unseen(worker: Worker) -> Stop:
    return Stop("stops", f"{worker.name}: no operator has seen its last change: is one running?", NO_OPERATOR)


def _breaker(name: str, kind: TypeState) -> Stop:
    return of_reason(name, "BreakerOpen", f"runs of {kind.name!r} fail one after another: {kind.reason}")


def _problem(name: str, answer: Answer) -> Stop:
    reason, _, sentence = answer.problem.partition(": ")
    return of_reason(name, reason, sentence)


def _not_asked(worker: Worker) -> Stop:
    """Return what the operator has heard of pods that could not be asked here."""
    told = worker.condition("Degraded")
    heard = f"; the operator reports {told.reason}: {told.message}" if told is not None and told.holds else ""
    return Stop("unknown", f"the pods of {worker.name} could not all be asked what they do{heard}", NOT_TAKEN)


def _left_alone(facts: Facts, step: Step, worker: Worker) -> Iterator[Stop]:
    """Yield why a job is not taken although a worker has room, if that has lasted longer than a lease.

    The engine does not say who holds a lease: what is known is whose worker has ended since the step began.
    """
    if step.since is None:
        return
    longest = timedelta(seconds=max(worker.lease, DEFAULT_LEASE) + SWEEP_SECONDS)
    for pod in worker.pods if worker.transport != "kafka" else ():
        if pod.ended_at is not None and step.since <= pod.ended_at <= facts.now < pod.ended_at + longest:
            left = (pod.ended_at + longest - facts.now).total_seconds()
            why = f"the worker in {pod.name} ended ({pod.ended_why or 'no reason given'}) and may have had its job"
            yield Stop("waits", f"{why}: the engine hands it out again within {left:.0f} s", "guarantees.md")
    if facts.now - step.since > longest:
        why = f"{worker.name} has room, yet takes no job of it: another worker may have it, or they ask another engine"
        yield Stop("unknown", why, NOT_TAKEN)
