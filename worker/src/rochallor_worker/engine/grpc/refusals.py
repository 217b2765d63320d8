"""What a gRPC status means for the caller.

C-core, on which Python's gRPC is built, reports its own errors by the same codes as a server; only the text tells them
apart. An unknown text is always read as the worse case: the request may have been carried out.
"""

import grpc

from rochallor_worker.engine.answers import breaks_schema, names_nothing
from rochallor_worker.engine.client import one_line
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    NotSupported,
    Rejected,
    SchemaViolation,
    TurnedAway,
    Unreachable,
)

_NEVER_SENT = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed", "empty address list")
"""How C-core's UNAVAILABLE begins when there was no connection to send the request on."""

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
    # the engine has no authentication and no quota: these come from a gateway
    _Code.UNAUTHENTICATED: TurnedAway,
    _Code.PERMISSION_DENIED: TurnedAway,
    _Code.RESOURCE_EXHAUSTED: TurnedAway,
    _Code.UNIMPLEMENTED: TurnedAway,  # nothing there knows the call, as when a gateway has no route
}
_LACKED = {"ExtendJobLease", "RetryStep"}
"""The calls that engines of older generations do not have."""
_NEVER_QUOTED = {_Code.UNAUTHENTICATED, _Code.PERMISSION_DENIED}


def refusal(call: str, target: str, code: grpc.StatusCode, details: str) -> EngineError:
    """Return the error that a call's status means."""
    # a server that refuses a token is never quoted: it may repeat the token in a form that is not recognised
    reason = "" if code in _NEVER_QUOTED else one_line(details)
    kind = _KINDS.get(code, InternalError)
    if code is _Code.UNAVAILABLE and details.startswith(_NEVER_SENT):
        return Unreachable(f"{call}: cannot connect to {target}: {reason}")
    if breaks_schema(details):
        kind = SchemaViolation
    elif code is _Code.INTERNAL and names_nothing(details):
        kind = NotFound
    elif code is _Code.UNIMPLEMENTED and call in _LACKED:
        kind = NotSupported
    elif code is _Code.FAILED_PRECONDITION and call == "PollJobs":
        kind = DispatchMismatch
    elif code is _Code.RESOURCE_EXHAUSTED and "larger than max" in details:
        kind = AnswerLost if details.startswith("CLIENT: Received") else Rejected
    return kind(f"{call}: {code.name} {reason}".rstrip())
