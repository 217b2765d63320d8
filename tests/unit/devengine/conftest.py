"""An engine's state under a clock that tests move."""

from dataclasses import dataclass

import msgspec
import pytest

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.model import EngineState


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> EngineState:
    """An engine that knows `order`: two tasks, pick (two retries) and ship (none), in a row."""
    engine = EngineState(clock=clock)
    steps = [
        {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "pick", "retryCount": 2, "nextStep": "b"},
        {"id": "b", "name": "B", "type": "SERVICE_TASK", "jobType": "ship", "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ]
    engine.definitions.upload(msgspec.convert({"id": "order", "name": "Order", "steps": steps}, Definition))
    return engine
