from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logged import logged_by
from unit.worker.why.fake_kubectl import Cluster


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, Any]]]:
    """The log entries of the test."""
    with logged_by("rochallor_worker") as entries:
        yield entries


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A kubectl of the test's own in the PATH, once it is installed."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Cluster(tmp_path)
