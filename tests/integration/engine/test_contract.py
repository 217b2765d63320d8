"""The dev engine answers as the real engine did, in every recorded case (tests/contract)."""

import asyncio
import time

import httpx
import pytest

from contract import replay
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.server import GENERATIONS


@pytest.mark.parametrize("generation", replay.GENERATIONS)
async def test_the_recorded_cases(generation: str) -> None:
    started = time.time()
    rules, renewable = GENERATIONS[generation]
    async with DevEngine(generation=rules, heartbeat=renewable, clock=lambda: started) as engine:

        def run() -> dict[str, str]:
            with httpx.Client(base_url=engine.url, timeout=60) as http:
                found = {
                    case.name: replay.run(http, case, without=replay.left_out(generation, case), sleep=engine.advance)
                    for case in replay.load(generation)
                }
            return {name: difference for name, difference in found.items() if difference}

        assert await asyncio.to_thread(run) == {}
        assert await asyncio.to_thread(run) == {}, "on an engine in use"


def test_the_steps_left_out_exist() -> None:
    steps = {(generation, case.name): len(case.steps) for generation in GENERATIONS for case in replay.load(generation)}
    assert [sum(name[0] == generation for name in steps) for generation in GENERATIONS] == [59, 54, 57]
    for case, left_out in replay.OTHERWISE.items():
        assert max(left_out) <= steps["D", case]
