"""Names that no host can have."""

import pytest

from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import Unreachable


@pytest.mark.parametrize("host", ["engine..svc", "e" * 64])
async def test_a_name_that_no_host_can_have_is_an_engine_that_cannot_be_reached(host: str) -> None:
    async with RestClient(f"http://{host}:8080") as client:
        with pytest.raises(Unreachable, match=r"cannot connect to .*: not a URL"):
            await client.get_instance("i")
