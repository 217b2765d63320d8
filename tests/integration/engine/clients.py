"""The three implementations of `EngineClient`, each with the dev engine behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from rochallor_worker.devengine import DevEngine, Faults
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient

Transport = Literal["rest", "grpc", "fake"]
TRANSPORTS: tuple[Transport, ...] = ("rest", "grpc", "fake")
BOTH_GENERATIONS = pytest.mark.parametrize("generation", ["A", "fenced"])
"""Runs a test on engines of both rule sets; other tests run on fenced ones."""
TIMEOUT = 3.0
"""Timeout of a call, in seconds, in tests in which one times out: long enough for the calls that must not."""

ORDER: dict[str, Any] = {
    "id": "order",
    "name": "Order",
    "description": "An order",
    "metadata": {"team": "shop", "weight": 2, "tags": ["a", 1.5]},
    "steps": [
        {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "pick", "retryCount": 1, "nextStep": "b"},
        {"id": "b", "name": "B", "type": "SERVICE_TASK", "jobType": "ship", "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ],
}


@dataclass(frozen=True)
class Under:
    """A client under test, and what it talks to."""

    client: EngineClient
    state: EngineState
    faults: Faults
    transport: Transport


@asynccontextmanager
async def connected(
    transport: Transport, timeout: float = 10.0, generation: Generation = "fenced"
) -> AsyncIterator[Under]:
    """Start a dev engine and connect to it."""
    if transport == "fake":
        fake = FakeEngine(EngineState(generation=generation))
        async with fake:
            yield Under(fake, fake.state, fake.faults, transport)
        return
    async with (
        DevEngine(grpc_port=0, generation=generation) as engine,
        client(transport, engine, timeout) as connection,
    ):
        yield Under(connection, engine.state, engine.faults, transport)


def client(transport: Transport, engine: DevEngine, timeout: float = 10.0) -> EngineClient:
    """Return a client of a running engine."""
    if transport == "rest":
        return RestClient(engine.url, timeout=timeout)
    return GrpcClient(engine.grpc_target, timeout=timeout)
