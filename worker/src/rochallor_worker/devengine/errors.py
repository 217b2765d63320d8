"""The errors of the dev engine's calls; each transport has its own status for them."""


class CallError(Exception):
    """The engine refuses a call. The text is the reason that the caller gets."""


class BadRequestError(CallError):
    """The request itself is wrong."""


class UnsupportedFormatError(CallError):
    """A definition sent as XML. REST only."""


class NotFoundError(CallError):
    """The thing named in the call does not exist."""


class NotSupportedError(CallError):
    """An engine of this generation does not have the call."""


class ConflictError(CallError):
    """The thing is not in a state that allows the call."""


class TakenError(ConflictError):
    """Another live instance has the business key. Over REST like any conflict, over gRPC with a status of its own."""


class InternalError(CallError):
    """Answered as a failure of the engine, though often the caller's (engine.md: unknown job, second cancel)."""


class SchemaViolationError(InternalError):
    """Variables violate a schema. An internal error over REST, an invalid request over gRPC (engine.md: "Errors")."""


class PollingOffError(CallError):
    """Jobs are dispatched over Kafka, so polling is off."""
