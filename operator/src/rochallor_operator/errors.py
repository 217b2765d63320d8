"""The operator's errors, each with a sentence for people."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator


class OperatorError(Exception):
    """Base of the operator's own errors. str() is one sentence for people."""


class StartError(OperatorError):
    """The operator can't start: a wrong setting or no way to reach a cluster."""


class WatchError(OperatorError):
    """The watch ended with an error."""


class LeadershipLostError(OperatorError):
    """Another operator may lead from now on: stop at once."""


class DegradedError(OperatorError):
    """Something outside the pods keeps a part of this resource from being put in place. Becomes a condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidSpecError(DegradedError):
    """The resource's spec can't be used. Only an edit of the resource helps."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.INVALID_SPEC, message)


_NOT_OF_THE_KIND: Final = ("failed to create typed patch object", "unable to convert unstructured object")
"""How the API server refuses to apply an object that doesn't fit its kind: with an internal error."""


class KubernetesError(OperatorError):
    """The API server refused a request or could not be reached.

    status is the HTTP status, or None when no answer came; retry_after is the pause in seconds that the API server
    asked for, 0 if none.
    """

    def __init__(self, status: int | None, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def namespace_ends(self) -> bool:
        """Whether the request was refused because the namespace is being deleted with everything in it."""
        return self.status == 403 and "because it is being terminated" in str(self)

    def as_degraded(self) -> DegradedError | None:
        """The same as a condition when the refusal is about this resource and lasts; None for a transient error."""
        message = str(self)
        if self.namespace_ends:
            return None
        if self.status == 403:
            quota = "exceeded quota" in message
            return DegradedError(Reason.QUOTA_EXCEEDED if quota else Reason.FORBIDDEN, message)
        if self.status in {400, 422} or any(words in message for words in _NOT_OF_THE_KIND):
            return InvalidSpecError(message)
        return None


class SilenceError(KubernetesError):
    """A watch stayed open beyond its timeout, so events may be missing."""


@contextmanager
def collect(problems: list[DegradedError]) -> Iterator[None]:
    """Note a lasting problem with one child, and go on with the next. Transient errors are raised."""
    try:
        yield
    except DegradedError as error:
        problems.append(error)
    except KubernetesError as error:
        degraded = error.as_degraded()
        if degraded is None:
            raise
        problems.append(degraded)
