"""The dev engine: the engine's contract in memory, for this project's tests, users' tests and demos.

It follows engine.md, quirks included, by the rules of a generation: "fenced" (D with renewable leases, C without) or
"A", the unfenced engines of up to spring 2026. It runs whole definitions.

`model` is the engine itself, without I/O; `expressions` is its expression language; `definition`, `catalog` and
`validation` deal with what users upload; `rest` and `grpc` are its interfaces, `client` calls it in the same process,
`relay` publishes its jobs to Kafka, and `state_file` keeps everything for the next process.
"""

from rochallor_worker.devengine.faults import Fault, Faults
from rochallor_worker.devengine.gateway import Gateway
from rochallor_worker.devengine.server import DevEngine

__all__ = ["DevEngine", "Fault", "Faults", "Gateway"]
