"""From facts to an answer: the first thing that stops an instance, and the chain by which it was found. Pure."""

from dataclasses import dataclass

from rochallor_worker.why.chain import Link, chain, line
from rochallor_worker.why.facts import Facts, Step
from rochallor_worker.why.stops import State, Stop, of_reason, worst
from rochallor_worker.why.workers import task

NO_NEXT = "asking.md#a-step-without-a-next-one"
WAITS = "asking.md#steps-that-wait"

_REST_ONLY = "this engine says so over REST only"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer about an instance. Its texts are one line each."""

    state: State
    why: str
    page: str
    """Where to read on, below docs/; empty if there is nothing to do."""
    chain: tuple[Link, ...]
    unknown: tuple[str, ...]
    """What could not be asked: with it the answer may be another one."""


def verdict(facts: Facts) -> Verdict:
    """Return what stops the instance. Of several branches, the one to look at first decides."""
    found = _whole(facts) or worst(_step(facts, step) for step in facts.steps)
    links = tuple(Link(link.what, line(link.found)) for link in chain(facts))
    return Verdict(found.state, line(found.why), found.page, links, tuple(map(line, facts.unknown)))


def _whole(facts: Facts) -> Stop | None:
    """Return what is to be said of the instance as a whole; None if its steps decide."""
    if facts.engine_problem:
        return of_reason("the engine", "EngineUnreachable", facts.engine_problem)
    if not facts.instance_id:
        return Stop("stops", f"the engine has no instance with the id or business key {facts.reference!r}")
    ended = {
        "COMPLETED": Stop("ended", "nothing stops it: it is COMPLETED"),
        "CANCELLED": Stop("ended", f"it was cancelled: {facts.failure or 'no reason given'}"),
        "FAILED": _failed(facts),
    }
    if facts.status in ended or facts.steps:
        return ended.get(facts.status)
    return Stop("stops", "it is at no step: its last step names no next one, and the engine leaves it there", NO_NEXT)


def _failed(facts: Facts) -> Stop:
    at = f" at step {facts.failed_step!r}" if facts.failed_step else ""
    return Stop("stops", f"it has FAILED{at}: {facts.failure or 'no reason given'}", "asking.md#what-has-failed")


def _step(facts: Facts, step: Step) -> Stop:
    if step.status == "COMPLETED" and not step.follows:
        return Stop("stops", f"step {step.id!r} is done and names no next step: the engine leaves it there", NO_NEXT)
    if step.kind == "SERVICE_TASK" and step.job_type:
        return task(facts, step)
    timer = f", or for its timer ({', '.join(step.timers)})" if step.timers else ""
    others = {
        "USER_TASK": Stop("waits", f"user task {step.id!r} waits for a person{timer}", WAITS),
        "WAIT": Stop("waits", f"step {step.id!r} waits for its signal{timer}", WAITS),
        "JOIN_GATEWAY": Stop("waits", f"join {step.id!r} waits for its other branches", WAITS),
        "SERVICE_TASK": Stop("unknown", f"the job type of step {step.id!r} is not known: {_REST_ONLY}"),
        "": Stop("unknown", f"what step {step.id!r} does is not known: {_REST_ONLY}"),
    }
    passing = Stop("unknown", f"step {step.id!r} is a {step.kind}: the engine should have passed it by itself")
    return others.get(step.kind, passing)
