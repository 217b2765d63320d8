from collections.abc import Iterator
from typing import Any

import pytest

from logged import logged_by


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, Any]]]:
    """The log entries of the test."""
    with logged_by("rochallor_worker") as entries:
        yield entries
