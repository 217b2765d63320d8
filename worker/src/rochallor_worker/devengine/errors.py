"""The refusals of the dev engine; each transport gives them its own status."""


class CallError(Exception):
    """The engine refuses a call. Its text is the reason that the caller reads."""


class BadRequestError(CallError):
    """The request itself is wrong."""


class NotFoundError(CallError):
    """The thing named in the call does not exist."""


class ConflictError(CallError):
    """The thing is not in a state that allows the call."""


class InternalError(CallError):
    """What the engine answers as its own failure, though often the caller's (engine.md: unknown job, second cancel)."""


class EndedError(InternalError):
    """A call on an instance that has ended. REST answers it as an internal error, gRPC as a wrong state."""


class PollingOffError(CallError):
    """Jobs are dispatched over Kafka, so polling is off."""
