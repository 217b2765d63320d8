"""Run with: pytest"""

import asyncio

from handlers import registry

from rochallor_worker.testing import Completed, Failed, WorkerHarness


def test_greet() -> None:
    outcome = asyncio.run(WorkerHarness(registry).run("greet", {"name": "Ada"}))
    assert outcome == Completed({"greeting": "Hello, Ada!"})


def test_a_missing_name_fails_permanently() -> None:
    outcome = asyncio.run(WorkerHarness(registry).run("greet"))
    assert outcome == Failed("NonRetryableError: the variable name is required", retryable=False)
