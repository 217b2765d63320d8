"""Every error this package raises, in one tree.

    RochallorError
    ├── StartError             the worker cannot start; one line for the person who configured it
    ├── NonRetryableError      raised by a handler: trying this job again cannot help
    ├── Postpone               raised by a handler: not now (handlers/postpone.py)
    ├── Away                   Kubernetes, or a worker's page, could not be asked: one line
    ├── NotOnTrial             there is no version to show, promote or abort (cli/rollout.py)
    └── EngineError            a call to the engine did not succeed
        ├── Unreachable        the request did not reach the engine: sending it again is always safe
        │   └── TurnedAway     a gateway answered in the engine's place (401, 403, 404, 429, a page)
        ├── AnswerLost         the request may or may not have been carried out
        │   └── Unreadable     an answer came that cannot be read
        ├── InternalError      the engine answered 5xx (gRPC: INTERNAL, UNKNOWN, …)
        ├── NotFound           no such definition, instance, job or user task
        ├── Rejected           the request's content is refused (400, 413)
        │   └── SchemaViolation   a job's result breaks its step's schema: the engine has failed the instance
        ├── Conflict           the thing is not in a state that allows the call (409)
        ├── NotSupported       this engine lacks the call: an older generation, perhaps one of several replicas
        └── DispatchMismatch   the engine dispatches over Kafka: polling is switched off (410)

Transports translate foreign errors into this tree once, where they occur; no other code catches aiohttp or grpc errors.
"""

import re

LONGEST_WORD = 200


class RochallorError(Exception):
    """Base of all errors of this package."""


class StartError(RochallorError):
    """The worker cannot start: a bad setting, handlers that cannot be loaded. Its text is one line.

    Words of more than `LONGEST_WORD` characters are cut, so that a huge value in a setting does not hide the message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1…", message))


class NonRetryableError(RochallorError):
    """Raise this from a handler when running the job again cannot help: the job and its instance become FAILED."""


class Away(RochallorError):  # noqa: N818 — named for the state it describes
    """Kubernetes, or a worker's page, could not be asked. Its text says which, and why, in one line."""


class EngineError(RochallorError):
    """A call to the engine did not succeed. Its text names the call and the reason."""


class Unreachable(EngineError):  # noqa: N818
    """The request provably did not reach the engine: no connection, or a gateway turned it away."""


class TurnedAway(Unreachable):
    """Something in front of the engine does not let the request through: credentials, a path or a quota."""


class AnswerLost(EngineError):  # noqa: N818
    """The request was sent and no answer came (timeout, reset): it may or may not have been carried out."""


class Unreadable(AnswerLost):
    """An answer came that is not the engine's, or too large for the transport: another try gets the same."""


class InternalError(EngineError):
    """The engine, or a gateway in front of it, answered 5xx: the request may or may not have been carried out."""


class NotFound(EngineError):  # noqa: N818
    """What the call names does not exist (engine.md: an unknown job or definition is answered with 500)."""


class Rejected(EngineError):  # noqa: N818
    """The request's content was refused, by the engine or before it; sending it again cannot help."""


class SchemaViolation(Rejected):
    """The result breaks the step's `outputs_schema`: step and instance are FAILED already (engine.md, "Errors").

    When starting an instance: its variables break the definition's `input_schema`, and it was not started.
    """


class Conflict(EngineError):  # noqa: N818
    """The instance, step or job is not in a state that allows the call, or a business key is taken."""


class NotSupported(EngineError):  # noqa: N818
    """This engine lacks the call (engine.md, "Generations"); another replica at the same address may have it."""


class DispatchMismatch(EngineError):  # noqa: N818
    """The engine dispatches jobs over Kafka and has switched polling off (engine.md: 410, FAILED_PRECONDITION)."""
