"""The cost of a fault: one row of the matrix. Broken promises are counts that must be zero."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Result:
    """Figures of one fault, injected once or several times. Seconds are the longest of all runs."""

    promises: ClassVar[dict[str, str]]
    """Count that must be zero → the promise that it would break."""

    recovery_s: float
    """From the end of the fault until none of its effects was left."""


@dataclass(frozen=True, kw_only=True)
class Jobs(Result):
    """What happened to jobs under a fault of a worker, its engine or its Kafka."""

    promises = {  # noqa: RUF012 — a class variable by its annotation above
        "lost": "no job lost",
        "duplicates": "0 duplicate runs",
        "retries": "no retry wasted",
        "disordered": "order per instance",
        "overdrawn": "bounded drain",
        "crashes": "no crash loop",
    }

    jobs: int
    lost: int
    """Jobs that did not end with their handler's outcome."""
    owed: int
    """Second runs of jobs whose worker was killed, frozen or cut off past its lease, or lost the job to the fault."""
    duplicates: int
    """Second runs without such a cause."""
    retries: int
    """Retries spent without a failure of a handler."""
    disordered: int
    """Runs that began before an earlier job of their instance had ended."""
    drain_s: float | None = None
    """How long a worker took to exit after SIGTERM, if one was sent."""
    overdrawn: int = 0
    """Drains that took longer than allowed."""
    crashes: int = 0
    """Worker processes that ended unasked, or with a status other than 0."""


@dataclass(frozen=True, kw_only=True)
class Outage(Jobs):
    """What an outage of something that handlers need has cost. No handler fails for another reason."""

    promises = {**Jobs.promises, "failed": "no instance FAILED", "overspent": "few retries spent"}  # noqa: RUF012

    spent: int
    """Retries spent."""
    overspent: int
    """Those of them beyond what it takes to open the breaker of each process."""
    failed: int
    """Instances that ended FAILED. Their jobs are not counted as lost."""


@dataclass(frozen=True, kw_only=True)
class WithoutBreaker(Outage):
    """The same where nothing is promised about instances and retries, for comparison."""

    promises = Jobs.promises


@dataclass(frozen=True, kw_only=True)
class Resources(Result):
    """What happened to resources and their children under a fault of the operator or its API server."""

    promises = {  # noqa: RUF012
        "unconverged": "the operator converges",
        "lost": "no child lost",
        "duplicates": "no child duplicated",
        "rollouts": "no needless rollout",
        "crashes": "no crash loop",
    }

    resources: int
    unconverged: int
    """Resources that did not reach the state their spec asks for."""
    lost: int
    """Children that should exist and do not."""
    duplicates: int
    """Children that exist and should not."""
    rollouts: int
    """New generations of a Deployment without a change of the spec."""
    crashes: int = 0
    """Operator processes that ended unasked, or with a status other than 0."""


R = TypeVar("R", bound=Result)


def broken(result: Result) -> list[str]:
    """Return the promises that were broken."""
    return [promise for count, promise in result.promises.items() if getattr(result, count)]


def check(result: Result | Exception) -> None:
    """Raise the error that kept a fault from being injected, or AssertionError if a promise was broken."""
    if isinstance(result, Exception):
        raise result
    assert not broken(result), result


def with_second_runs(figures: Jobs) -> Jobs:
    """Return figures. Raises AssertionError if the fault caused no second run, since it then hit no running job."""
    assert figures.owed, "the fault met no job that ran"
    return figures


def together(results: Sequence[R]) -> R:
    """Combine several runs of one fault into one row: counts add up, seconds are the longest."""
    figures: dict[str, Any] = {
        field.name: _combined([getattr(result, field.name) for result in results]) for field in fields(results[0])
    }
    return replace(results[0], **figures)


def _combined(figures: list[int | float | None]) -> int | float | None:
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    return sum(known) if isinstance(known[0], int) else max(known)
