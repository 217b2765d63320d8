"""Each fault of pods once, small; `make faults` runs them for longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from faults.pods import PODS
from faults.result import check
from faults.suite import SMALL, Case, Played

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl


@pytest.fixture(scope="module")
def played(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Results of all of them, injected at the same time."""
    return asyncio.run(PODS.play(cluster, SMALL, tmp_path_factory.mktemp("faults"), PODS.short))


@pytest.mark.timeout(1200)  # the first of them waits for all
@pytest.mark.parametrize("case", PODS.short, ids=str)
def test_no_promise_is_broken(played: Played, case: Case) -> None:
    check(played[case])
