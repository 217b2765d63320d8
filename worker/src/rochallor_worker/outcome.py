"""The outcome of a run: a value, decided before anything is sent to the engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Completed:
    """The job is done; `variables` are merged into the instance."""

    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The job failed; `retryable` asks the engine to spend a retry instead of failing the instance."""

    message: str
    retryable: bool
    trace: str = field(default="", compare=False, repr=False)
    """The traceback, for the log; it is not sent."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """No outcome: the job is to run again in `after` seconds. Nothing is reported, and no retry is spent."""

    after: float
    message: str


Outcome = Completed | Failed
