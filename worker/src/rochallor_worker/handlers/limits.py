"""How much of a job type may run: what a handler, or the settings of its worker, say about it."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from rochallor_worker.backoff import is_number
from rochallor_worker.handlers.breaker import DEFAULT, Breaker

Scope = Literal["pod", "resource"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one job type.

    At most `parallelism` of its jobs run at once in this process, and at most `per_second` runs begin each second: in
    this process, or with the scope `resource` in all pods of the resource together. `breaker` is None where it is off.
    Raises `ValueError` for values that are not above 0, or of another type.
    """

    parallelism: int | None = None
    per_second: float | None = None
    scope: Scope = "pod"
    breaker: Breaker | None = DEFAULT

    def __post_init__(self) -> None:
        parallelism: Any = self.parallelism  # whatever the annotations say
        per_second: Any = self.per_second
        if not (parallelism is None or (isinstance(parallelism, int) and is_number(parallelism) and parallelism >= 1)):
            raise ValueError(f"limit is a number of jobs above 0, not {self.parallelism!r}")
        if not (per_second is None or (is_number(per_second) and 0 < per_second < math.inf)):
            raise ValueError(f"per_second is a number of runs above 0, not {self.per_second!r}")
        if not isinstance(self.breaker, Breaker | None):
            raise ValueError(f"breaker is a Breaker, or None to have none, not {described(self.breaker, Breaker)}")


def described(given: object, wanted: type) -> str:
    """Return how an error shows an argument that is not of the class that is wanted."""
    return f"the class itself: write {wanted.__name__}()" if given is wanted else repr(given)


NO_LIMITS = Limits()
