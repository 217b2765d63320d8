"""The dev engine: the engine's contract in memory, for tests, demos and people's own tests.

It follows engine.md with its awkward parts, and runs definitions of SERVICE_TASK and END steps.
"""

from rochallor_worker.devengine.faults import Fault, Faults
from rochallor_worker.devengine.gateway import Gateway
from rochallor_worker.devengine.server import DevEngine

__all__ = ["DevEngine", "Fault", "Faults", "Gateway"]
