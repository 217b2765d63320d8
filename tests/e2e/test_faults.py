"""Each fault of pods once, small: `make faults` plays them for longer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from faults.pods import PODS
from faults.result import Result, broken
from faults.suite import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kubectl import Kubectl

Played = dict[str, Result | Exception]


@pytest.fixture(scope="module")
def played(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What came of all of them, played at the same time."""

    async def play(folder: Path) -> Played:
        async with aclosing(PODS.play(cluster, SMALL, folder, PODS.faults)) as ended:
            return {name: result async for name, result in ended}

    return asyncio.run(play(tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("fault", PODS.faults)
def test_no_promise_is_broken(played: Played, fault: str) -> None:
    result = played[fault]
    if isinstance(result, Exception):
        raise result
    assert not broken(result), result
