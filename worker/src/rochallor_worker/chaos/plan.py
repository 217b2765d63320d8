"""What goes wrong, and where: first each fault alone at each step, then two in a row as the seed says. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import NamedTuple

MOST_REQUESTS = 3
"""How many requests of a run are disturbed, each in a scenario of its own."""


class Fault(StrEnum):
    """What goes wrong in one run of a handler. The value is what the report calls it."""

    KILLED = "the worker is killed after the effect, before the engine has the outcome"
    LATE = "the lease ends before the outcome arrives, and another worker gets the job"
    UNHEARD = "the engine's answer to the outcome is lost"
    DOUBLE = "two workers get the job at the same time"
    RESTART = "engine and worker are restarted before the engine has the outcome"
    KILLED_AT = "the worker is killed after a request, before its answer"
    UNANSWERED = "the answer to a request is lost"
    STALLED = "a run stalls at a request until its lease has ended and another worker has run the job"


AT_OUTCOME = (Fault.KILLED, Fault.LATE, Fault.UNHEARD, Fault.DOUBLE, Fault.RESTART)
AT_REQUEST = (Fault.KILLED_AT, Fault.UNANSWERED, Fault.STALLED)


class Disturbance(NamedTuple):
    """A fault, and at which of the run's requests it strikes, from 0, if it strikes at one."""

    fault: Fault
    request: int = 0

    def __str__(self) -> str:
        return f"{self.fault} (request {self.request + 1})" if self.fault in AT_REQUEST else str(self.fault)


class Scenario(NamedTuple):
    """One instance: the first runs of one step are disturbed, one after another, and everything else goes well."""

    step: str
    disturbances: tuple[Disturbance, ...]

    def __str__(self) -> str:
        return f"step {self.step!r}: " + ", then ".join(map(str, self.disturbances))


def singly(requests: Mapping[str, int]) -> list[Scenario]:
    """Return each fault alone at each step; `requests` says how many each step's run sends when nothing goes wrong."""
    return [Scenario(step, (one,)) for step, count in requests.items() for one in _possible(count)]


def drawn(requests: Mapping[str, int], rounds: int, seed: int) -> Iterator[Scenario]:
    """Yield scenarios of two faults. The same seed gives the same ones, whatever came before."""
    for number in range(rounds):
        random = Random(f"{seed}/{number}")  # noqa: S311 — not a secret
        step = random.choice(sorted(requests))
        yield Scenario(step, tuple(random.choices(_possible(requests[step]), k=2)))


def _possible(requests: int) -> Sequence[Disturbance]:
    at_requests = [Disturbance(fault, at) for at in range(min(requests, MOST_REQUESTS)) for fault in AT_REQUEST]
    return [*map(Disturbance, AT_OUTCOME), *at_requests]
