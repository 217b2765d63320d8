"""What a fault cost: one row of the matrix. Whatever breaks a promise is a count that must be zero."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Result:
    """Figures of one fault, played once or several times. Seconds are the longest of all plays."""

    promises: ClassVar[dict[str, str]]
    """Counts that must be zero → the promise that each breaks otherwise."""

    recovery_s: float
    """From the end of the fault until everything was as if there had been none."""


@dataclass(frozen=True, kw_only=True)
class Jobs(Result):
    """What became of jobs while a worker, its engine or its Kafka suffered."""

    promises = {  # noqa: RUF012 — a class variable by its annotation above
        "lost": "no job lost",
        "doubled": "no needless second run",
        "retries": "no retry wasted",
        "disordered": "order per instance",
        "overdrawn": "bounded drain",
        "crashes": "no crash loop",
    }

    jobs: int
    lost: int
    """Jobs without an end that their handler decided."""
    owed: int
    """Second runs of jobs whose worker was killed or stood still past its lease while it had them."""
    doubled: int
    """Second runs that nothing called for."""
    retries: int
    """Retries spent beyond those that a handler's failure asked for."""
    disordered: int
    """Runs that began before an earlier job of their instance had ended."""
    drain_s: float | None = None
    """How long a worker took to end after SIGTERM, where one was sent."""
    overdrawn: int = 0
    """Drains that took longer than they may."""
    crashes: int = 0
    """Worker processes that ended without being told to, or with another status than 0."""


@dataclass(frozen=True, kw_only=True)
class Resources(Result):
    """What became of resources and their children while the operator or its API server suffered."""

    promises = {  # noqa: RUF012
        "unconverged": "the operator converges",
        "lost": "no child lost",
        "doubled": "no child twice",
        "rollouts": "no needless rollout",
        "crashes": "no crash loop",
    }

    resources: int
    unconverged: int
    """Resources that did not reach the state their spec asks for."""
    lost: int
    """Children that should be there and are not."""
    doubled: int
    """Children that are there and should not be."""
    rollouts: int
    """New generations of a Deployment that no spec asked for."""
    crashes: int = 0
    """Operator processes that ended without being told to, or with another status than 0."""


R = TypeVar("R", bound=Result)


def broken(result: Result) -> list[str]:
    """The promises that did not hold."""
    return [promise for count, promise in result.promises.items() if getattr(result, count)]


def check(result: Result | Exception) -> None:
    """Raise what kept a fault from being played, or AssertionError when a promise was broken."""
    if isinstance(result, Exception):
        raise result
    assert not broken(result), result


def bitten(figures: Jobs) -> Jobs:
    """The figures of a fault that must have taken jobs from whoever ran them: AssertionError when it took none."""
    assert figures.owed, "the fault met no job that ran"
    return figures


def together(results: Sequence[R]) -> R:
    """Several plays of one fault as one row: counts add up, seconds are the longest."""
    figures: dict[str, Any] = {
        field.name: _combined([getattr(result, field.name) for result in results]) for field in fields(results[0])
    }
    return replace(results[0], **figures)


def _combined(figures: list[int | float | None]) -> int | float | None:
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    return sum(known) if isinstance(known[0], int) else max(known)
