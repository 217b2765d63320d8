"""What a gRPC status means for the caller.

C-core, which carries Python's gRPC, reports its own troubles by the same codes as a server does; the text tells them
apart. An unknown text is always read as the worse case: the request may have been carried out.
"""

import grpc

from rochallor_worker.engine.base import one_line
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    Rejected,
    Unreachable,
)

_NEVER_SENT = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed", "empty address list")
"""How C-core's UNAVAILABLE begins when no connection was there to send the request on."""

_Code = grpc.StatusCode
_KINDS: dict[grpc.StatusCode, type[EngineError]] = {
    _Code.NOT_FOUND: NotFound,
    _Code.INVALID_ARGUMENT: Rejected,
    _Code.OUT_OF_RANGE: Rejected,
    _Code.FAILED_PRECONDITION: Conflict,
    _Code.ALREADY_EXISTS: Conflict,
    _Code.UNAVAILABLE: AnswerLost,
    _Code.DEADLINE_EXCEEDED: AnswerLost,
    _Code.CANCELLED: AnswerLost,
    # the engine has no authentication and no quota: a gateway said this
    _Code.UNAUTHENTICATED: Unreachable,
    _Code.PERMISSION_DENIED: Unreachable,
    _Code.RESOURCE_EXHAUSTED: Unreachable,
    _Code.UNIMPLEMENTED: Unreachable,  # nobody there knows the call, as when a gateway has no route
}


def refusal(call: str, target: str, code: grpc.StatusCode, details: str) -> EngineError:
    """Return the error that a call's status means."""
    reason = one_line(details)
    kind = _KINDS.get(code, InternalError)
    if code is _Code.UNAVAILABLE and details.startswith(_NEVER_SENT):
        return Unreachable(f"{call}: cannot connect to {target}: {reason}")
    if code is _Code.INTERNAL and "not found" in details:  # engine.md: an unknown job
        kind = NotFound
    elif code is _Code.FAILED_PRECONDITION and call == "PollJobs":
        kind = DispatchMismatch
    elif code is _Code.RESOURCE_EXHAUSTED and "larger than max" in details:
        kind = AnswerLost if details.startswith("CLIENT: Received") else Rejected
    return kind(f"{call}: {code.name} {reason}".rstrip())
