from collections.abc import AsyncIterator
from typing import cast

import pytest

from integration.engine.clients import ORDER, TRANSPORTS, Transport, Under, connected
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine.client import EngineClient


@pytest.fixture
def generation() -> Generation:
    """The rules that the engine follows, unless `BOTH_GENERATIONS` sets them."""
    return "fenced"


@pytest.fixture(params=TRANSPORTS)
async def under(request: pytest.FixtureRequest, generation: Generation) -> AsyncIterator[Under]:
    """A client of each kind in turn, connected to an engine that knows ORDER."""
    async with connected(cast("Transport", request.param), generation=generation) as found:
        await found.client.upload_definition(ORDER)
        yield found


@pytest.fixture
def client(under: Under) -> EngineClient:
    return under.client
