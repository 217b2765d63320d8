"""Whether a version on trial has failed, or what must be known before it may go on (pure).

A version fails as soon as that is certain: even if all jobs that are missing to minJobs succeeded, and those of the
stable pods failed. It goes on only when nothing is missing. What is not known is never passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from rochallor_operator.rollout.state import NOTHING, Counts

if TYPE_CHECKING:
    from rochallor_operator.observe import Problem
    from rochallor_operator.spec.sections import Gate

SLOW: Final = Fraction(5, 100)
"""The share of jobs that may take longer than maxHandlerP95: it is the 95th percentile."""


@dataclass(frozen=True)
class Seen:
    """What the pods have told since the step began."""

    canary: Counts = NOTHING
    stable: Counts = NOTHING
    silent: str | None = None
    """Pods that don't answer, in words."""
    crash: str | None = None
    """A canary pod that has exited, and why."""
    problem: Problem | None = None
    """Why a canary pod doesn't start."""
    breaker: str | None = None
    """A job type whose breaker is open in the canary, and in no stable pod."""
    partitions: tuple[int, int] | None = None
    """Kafka partitions of the canary and of all pods; None without Kafka."""


def failure(gate: Gate, seen: Seen) -> str | None:
    """Why the version has certainly failed."""
    if seen.crash is not None:
        return seen.crash
    if seen.breaker is not None:
        return f"all runs of {seen.breaker!r} fail in the canary, and not in the stable pods: its breaker is open"
    least, canary, stable = gate.min_jobs, seen.canary, seen.stable
    counted = max(canary.jobs, least)
    worst_of_stable = Fraction(stable.failures + max(0, least - stable.jobs), max(stable.jobs, least))
    allowed = min(fraction(gate.max_failure_ratio), worst_of_stable + fraction(gate.worse_than_stable_by))
    if canary.failures > allowed * counted:
        return (
            f"{canary.failures} of {canary.jobs} jobs failed in the canary,"
            f" and {stable.failures} of {stable.jobs} in the stable pods"
        )
    if gate.max_handler_p95 is not None and canary.slow > SLOW * counted:
        return f"{canary.slow} of {canary.jobs} jobs took longer than maxHandlerP95 ({gate.max_handler_p95})"
    return None


def missing(gate: Gate, seen: Seen) -> str | None:
    """What must be known before the version may go on."""
    if seen.silent is not None:
        return seen.silent
    for pods, counts in (("canary", seen.canary), ("stable pods", seen.stable)):
        if counts.jobs < gate.min_jobs:
            return f"{counts.jobs} of at least {gate.min_jobs} jobs have ended in the {pods}"
    return None


def fraction(percent: str) -> Fraction:
    """A percentage such as 2.5% as a number."""
    return Fraction(percent.removesuffix("%")) / 100
