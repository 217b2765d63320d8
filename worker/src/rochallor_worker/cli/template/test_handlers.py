"""Run with: pytest"""

import asyncio

from handlers import registry

from rochallor_worker.testing import Completed, Failed, WorkerHarness


def test_greet() -> None:
    outcome = asyncio.run(WorkerHarness(registry).run("greet", {"name": "Ada"}))
    assert outcome == Completed({"greeting": "Hello, Ada!"})


def test_variables_that_do_not_fit_fail_permanently() -> None:
    outcome = asyncio.run(WorkerHarness(registry).run("greet"))
    message = "NonRetryableError: the variables do not fit Person: name: missing"
    assert outcome == Failed(message, retryable=False)
