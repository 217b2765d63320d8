"""Every error this package raises, in one tree.

    RochallorError
    ├── StartError             the worker cannot start; one sentence for the person who configured it
    ├── NonRetryableError      raised by a handler: trying this job again cannot help
    └── EngineError            the engine, or the way to it
        ├── Unreachable        the request did not reach the engine: sending it again is always safe
        ├── AnswerLost         the request may or may not have been carried out
        │   └── Unreadable     an answer came, and it cannot be read
        ├── InternalError      the engine answered 5xx (gRPC: INTERNAL, UNKNOWN, …)
        ├── NotFound           no such definition, instance, job or user task
        ├── Rejected           the request's content is refused (400, 413)
        ├── Conflict           the thing is not in a state that allows the call (409)
        └── DispatchMismatch   the engine dispatches over Kafka: polling is switched off (410)

Transports translate foreign errors into this tree once, where they occur; nobody else catches an aiohttp or grpc error.
"""

import re

LONGEST_WORD = 200


class RochallorError(Exception):
    """Base of all errors of this package."""


class StartError(RochallorError):
    """The worker cannot start: a bad setting, handlers that cannot be loaded. Its text is one sentence.

    Words of more than `LONGEST_WORD` characters are cut: whatever a setting holds, what is wrong stays in sight.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1…", sentence))


class NonRetryableError(RochallorError):
    """Raise it from a handler when running the job again cannot help: the job and its instance become FAILED."""


class EngineError(RochallorError):
    """A call to the engine did not succeed. Its text names the call and the reason."""


class Unreachable(EngineError):  # noqa: N818 — named for the state it describes
    """The request provably did not reach the engine: no connection, or a gateway turned it away (401, 403, 429, …)."""


class AnswerLost(EngineError):  # noqa: N818
    """The request was sent and no answer came (timeout, reset): it may or may not have been carried out."""


class Unreadable(AnswerLost):
    """An answer came that is none of the engine's, or more than the transport can carry: another try gets the same."""


class InternalError(EngineError):
    """The engine, or a gateway in front of it, answered 5xx. It may or may not have been carried out."""


class NotFound(EngineError):  # noqa: N818
    """The thing named in the call does not exist (engine.md: unknown job and unknown definition answer 500)."""


class Rejected(EngineError):  # noqa: N818
    """The request's content was refused, by the engine or before it; sending the same again cannot help."""


class Conflict(EngineError):  # noqa: N818
    """The instance or step is not in a state that allows the call."""


class DispatchMismatch(EngineError):  # noqa: N818
    """The engine dispatches jobs over Kafka and has switched polling off (engine.md: 410, FAILED_PRECONDITION)."""
