from collections.abc import AsyncIterator
from typing import cast

import pytest

from integration.engine.clients import ORDER, TRANSPORTS, Transport, Under, connected
from rochallor_worker.engine.base import EngineClient


@pytest.fixture(params=TRANSPORTS)
async def under(request: pytest.FixtureRequest) -> AsyncIterator[Under]:
    """A client of each kind in turn, connected to an engine that knows ORDER."""
    async with connected(cast("Transport", request.param)) as found:
        await found.client.upload_definition(ORDER)
        yield found


@pytest.fixture
def client(under: Under) -> EngineClient:
    return under.client
