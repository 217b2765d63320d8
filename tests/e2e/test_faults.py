"""Each fault of pods once, small: `make faults` plays them for longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from faults.pods import PODS
from faults.result import check
from faults.suite import SMALL, Played

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl


@pytest.fixture(scope="module")
def played(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What came of all of them, played at the same time."""
    return asyncio.run(PODS.play(cluster, SMALL, tmp_path_factory.mktemp("faults"), PODS.faults))


@pytest.mark.parametrize("fault", PODS.faults)
def test_no_promise_is_broken(played: Played, fault: str) -> None:
    check(played[fault])
