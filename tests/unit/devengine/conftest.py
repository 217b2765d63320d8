"""An engine's state under a clock that tests move, by the rules of each generation; and a running engine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httpx
import msgspec
import pytest

from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.model import EngineState

from .definitions import ORDER

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Generation


@dataclass
class Clock:
    """A clock that only tests move."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["A", "fenced"])
def state(request: pytest.FixtureRequest, clock: Clock) -> EngineState:
    """An engine of each generation in turn that knows `order`."""
    return knowing_order(EngineState(generation=cast("Generation", request.param), clock=clock))


@pytest.fixture
def unfenced(clock: Clock) -> EngineState:
    """An engine of generation A that knows `order`."""
    return knowing_order(EngineState(generation="A", clock=clock))


@pytest.fixture
def fenced(clock: Clock) -> EngineState:
    """A fenced engine that knows `order`."""
    return knowing_order(EngineState(clock=clock))


def knowing_order(engine: EngineState) -> EngineState:
    """Upload `order`: two tasks, pick (two retries) and ship (none), in a row."""
    steps = [
        {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "pick", "retryCount": 2, "nextStep": "b"},
        {"id": "b", "name": "B", "type": "SERVICE_TASK", "jobType": "ship", "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ]
    upload(engine, {"id": "order", "name": "Order", "steps": steps})
    return engine


def upload(engine: EngineState, definition: dict[str, object]) -> int:
    """Upload a definition to an engine; return its version."""
    return engine.definitions.upload(msgspec.convert(definition, Definition), engine.generation)[0].version


@pytest.fixture
async def engine() -> AsyncIterator[DevEngine]:
    """A running dev engine."""
    async with DevEngine() as running:
        yield running


@pytest.fixture
async def http(engine: DevEngine) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running dev engine that knows ORDER."""
    async with httpx.AsyncClient(base_url=engine.url, timeout=60) as client:
        assert (await client.post("/v1/definitions", json=ORDER)).status_code == 201
        yield client
