"""What a killed worker leaves behind: nothing lost, and each second run accounted for."""

import signal
from pathlib import Path

import pytest

from integration.worker.conftest import worker_process
from integration.worker.test_process import count, runs, start, until
from rochallor_worker.devengine import DevEngine

JOBS = 500
SLOTS = 32


@pytest.mark.parametrize("journal", [True, False], ids=["journal", "no journal"])
async def test_kill_minus_nine_in_the_middle_loses_no_job(tmp_path: Path, journal: bool) -> None:
    settings = {"parallelism": str(SLOTS), "lease": "5s"}
    if journal:
        settings["journal_dir"] = str(tmp_path / "journal")
    async with DevEngine(lease=5, sweep=1) as engine:
        await start(engine, "brief", count=JOBS)
        async with worker_process(tmp_path, engine.url, **settings) as worker:
            await worker.started()
            await until(lambda: count(engine, "COMPLETED") >= JOBS // 2)
            worker.process.send_signal(signal.SIGKILL)
            await worker.ended()
        async with worker_process(tmp_path, engine.url, **settings) as worker:
            await worker.started()
            await until(lambda: count(engine, "COMPLETED") == JOBS)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        again = runs(engine) - JOBS
        assert again <= SLOTS, "only what was in flight at the kill may run again"
        expired = sum(event.kind == "expire" for event in engine.state.log)
        assert again == expired, "each second run is a lease that ended with its worker"
        assert not any(event.kind == "fail" for event in engine.state.log)
