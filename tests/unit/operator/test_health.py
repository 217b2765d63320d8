from __future__ import annotations

import aiohttp
import pytest

from rochallor_operator import health
from rochallor_operator.errors import StartError


async def _get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_the_endpoints() -> None:
    state = health.Health()
    async with health.serve(state, 0) as port:
        assert await _get(port, "/livez") == (200, "ok\n")
        assert await _get(port, "/readyz") == (503, "starting\n")
        state.not_ready = None
        assert await _get(port, "/readyz") == (200, "ok\n")
        status, text = await _get(port, "/metrics")
        assert status == 200
        assert "python_info" in text


async def test_a_taken_port_is_one_sentence() -> None:
    async with health.serve(health.Health(), 0) as port:
        with pytest.raises(StartError, match=rf"can't listen on port {port}: "):
            async with health.serve(health.Health(), port):
                pytest.fail("the port was free")
