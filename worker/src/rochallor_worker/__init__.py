"""Job-worker runtime for rochallor-engine."""

from rochallor_worker.engine.base import Connection, EngineClient, Instance, InstanceStatus
from rochallor_worker.engine.rest import RestClient
from rochallor_worker.errors import EngineError, NonRetryableError, RochallorError, StartError
from rochallor_worker.job import Job
from rochallor_worker.registry import Registry
from rochallor_worker.runner import Runner
from rochallor_worker.source.brokers import Kafka

__all__ = [
    "Connection",
    "EngineClient",
    "EngineError",
    "Instance",
    "InstanceStatus",
    "Job",
    "Kafka",
    "NonRetryableError",
    "Registry",
    "RestClient",
    "RochallorError",
    "Runner",
    "StartError",
]
