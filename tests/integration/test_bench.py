"""The benchmarks still run: a small one of each kind fills every row of the page. (`make bench` measures.)"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import compared, costly, latencies, page, promises, throughput
from bench.driven import Load
from bench.processes import stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.processes import Stub


@pytest.fixture
async def stub_engine() -> AsyncIterator[Stub]:
    """The stub, built before the first test."""
    async with stub() as running:
        yield running


async def test_every_row_is_filled(stub_engine: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "JOBS", 400)
    monkeypatch.setattr(throughput, "NAIVE_JOBS", 100)
    monkeypatch.setattr(latencies, "LOADS", {"this worker": Load(100, arrivals=100)})
    monkeypatch.setattr(costly, "LOAD", replace(costly.LOAD, jobs=100))
    monkeypatch.setattr(costly, "PAIRS", 1)
    monkeypatch.setattr(compared, "LOAD", Load(100))
    monkeypatch.setattr(compared, "ROUNDS", 1)
    monkeypatch.setattr(page, "DOCS", tmp_path)
    results = [result async for result in throughput.compare(stub_engine, tmp_path)]
    waits = [latency async for latency in latencies.compare(stub_engine, tmp_path)]
    figures = [("start of a worker", await promises.startup(tmp_path))]
    for scenarios in (costly.compare, compared.compare):
        figures += [figure async for figure in scenarios(stub_engine, tmp_path)]
    assert (len(results), len(waits), len(figures)) == (10, 2, 1 + 4 + 6)
    assert "–" not in [page.target(name) for name, _ in figures]
    assert all(result.jobs_per_second > 0 and result.cpu_ms > 0 for result in results)
    assert all(min(*latency.start, *latency.outcome) > 0 for latency in waits)
    page.write(results, waits, figures, [], page.pace(page.loop_seconds(), 1.25))
    lines = (tmp_path / "benchmarks.md").read_text().splitlines()
    assert any(line.endswith("before the run and 1.25 s after it.") for line in lines)
    for row in (*map(page.row, results), *map(page.latency_row, waits), *figures):
        assert any(all(cell in line for cell in row) for line in lines), row


def test_a_duplicate_run_ends_the_benchmark() -> None:
    assert promises.once(2, 2) == "0 duplicate runs"
    with pytest.raises(SystemExit, match="2 jobs were run 3 times"):
        promises.once(3, 2)
