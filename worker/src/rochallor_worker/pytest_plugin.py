"""Fixtures that pytest finds by itself, through the entry point `pytest11`.

pytest loads this in every project that has the package, so it imports little until a fixture is used.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_worker.devengine import DevEngine
    from rochallor_worker.testing import WorkerHarness


@pytest.fixture
def engine() -> "Iterator[DevEngine]":
    """A dev engine on a free port, for the duration of the test; its address is `engine.url`."""
    from rochallor_worker.testing import dev_engine  # noqa: PLC0415

    with dev_engine() as running:
        yield running


@pytest.fixture
def worker_harness() -> "type[WorkerHarness]":
    """Runs a registry's handlers as a worker does: `worker_harness(registry)` (rochallor_worker/testing.py)."""
    from rochallor_worker.testing import WorkerHarness  # noqa: PLC0415

    return WorkerHarness
