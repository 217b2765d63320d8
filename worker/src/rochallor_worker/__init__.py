"""Job-worker runtime for rochallor-engine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rochallor_worker.backoff import Backoff
from rochallor_worker.engine.client import Connection, EngineClient, Instance, InstanceStatus, OAuth
from rochallor_worker.errors import EngineError, NonRetryableError, RochallorError, StartError
from rochallor_worker.extras import needs
from rochallor_worker.handlers.breaker import Breaker
from rochallor_worker.handlers.lifespan import Worker
from rochallor_worker.handlers.postpone import Postpone, postpone_from
from rochallor_worker.handlers.signature import State
from rochallor_worker.job import Job
from rochallor_worker.registry import Registry
from rochallor_worker.source.kafka.connection import Kafka, NewTopics, TokenEndpoint

if TYPE_CHECKING:
    from rochallor_worker.engine.grpc.client import GrpcClient as GrpcClient  # not in __all__: its extra may be missing
    from rochallor_worker.engine.rest.client import RestClient
    from rochallor_worker.execution.runner import Runner
    from rochallor_worker.handlers.processes import Processes

__all__ = [
    "Backoff",
    "Breaker",
    "Connection",
    "EngineClient",
    "EngineError",
    "Instance",
    "InstanceStatus",
    "Job",
    "Kafka",
    "NewTopics",
    "NonRetryableError",
    "OAuth",
    "Postpone",
    "Processes",
    "Registry",
    "RestClient",
    "RochallorError",
    "Runner",
    "StartError",
    "State",
    "TokenEndpoint",
    "Worker",
    "postpone_from",
]

_HEAVY = {
    "GrpcClient": "rochallor_worker.engine.grpc.client",
    "Processes": "rochallor_worker.handlers.processes",
    "RestClient": "rochallor_worker.engine.rest.client",
    "Runner": "rochallor_worker.execution.runner",
}
"""Loaded when they are asked for: a module of handlers, and its tests, need none of them."""


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needs("grpc", name):
        return getattr(import_module(_HEAVY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
