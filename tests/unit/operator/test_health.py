from __future__ import annotations

import asyncio
import logging
import logging.config

import aiohttp
import pytest

from rochallor_operator.errors import StartError
from rochallor_operator.runtime import health, logs


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


async def test_a_request_that_is_not_http_is_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.config, "dictConfig", lambda _: None)  # the tests' own stays
    logs.configure("INFO")
    async with health.serve(health.Health(), 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert caplog.records == []
