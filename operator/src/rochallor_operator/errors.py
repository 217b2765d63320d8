"""What can go wrong, as values that carry a sentence for people."""

from __future__ import annotations

from typing import Final

from rochallor_operator.reasons import Reason


class OperatorError(Exception):
    """Base of the operator's own errors. str() is one sentence for people."""


class StartError(OperatorError):
    """The operator can't start: a wrong setting or no way to reach a cluster."""


class WatchError(OperatorError):
    """The watch ended with an error."""


class LeadershipLostError(OperatorError):
    """Another operator may lead from now on: stop at once."""


class DegradedError(OperatorError):
    """Something outside the pods stops this resource from being put in place. Becomes the Degraded condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidSpecError(DegradedError):
    """The resource's spec can't be used. Only an edit of the resource helps."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.INVALID_SPEC, message)


_NOT_OF_THE_KIND: Final = ("failed to create typed patch object", "unable to convert unstructured object")
"""What an object that can't be of its kind is to the API server's apply: an internal error."""


class KubernetesError(OperatorError):
    """The API server refused a request or could not be reached.

    status is the HTTP status, or None when no answer came.
    """

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status

    def as_degraded(self) -> DegradedError | None:
        """The same as a condition when the refusal is about this resource and lasts; None for passing trouble."""
        message = str(self)
        if self.status == 403:
            quota = "exceeded quota" in message
            return DegradedError(Reason.QUOTA_EXCEEDED if quota else Reason.FORBIDDEN, message)
        if self.status in {400, 422} or any(words in message for words in _NOT_OF_THE_KIND):
            return InvalidSpecError(message)
        return None
