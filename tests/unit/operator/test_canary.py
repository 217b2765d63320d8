"""The canary on a virtual clock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.canary import Canary
from rochallor_operator.errors import KubernetesError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rochallor_operator.kube import Kube
    from rochallor_operator.names import Manifest

pytestmark = pytest.mark.looptime


class FakeKube:
    """Counts the touches; tells `heard` of each, if the watch hears."""

    def __init__(self) -> None:
        self.version = 10
        self.away = self.deaf = False
        self.heard: Callable[[int], None] = lambda _: None

    async def apply(self, _manifest: Manifest) -> Manifest:
        if self.away:
            raise KubernetesError(None, "refused")
        self.version += 1
        if not self.deaf:
            self.heard(self.version)
        return {"metadata": {"resourceVersion": str(self.version)}}


@asynccontextmanager
async def running(kube: FakeKube) -> AsyncIterator[Canary]:
    canary = Canary(cast("Kube", kube), "system", "operator")
    kube.heard = lambda version: canary.saw("system", "operator-canary", version)
    task = asyncio.create_task(canary.run())
    try:
        yield canary
    finally:
        task.cancel()


async def test_a_watch_that_hears_is_healthy() -> None:
    kube = FakeKube()
    async with running(kube) as canary:
        await asyncio.sleep(1000)
        assert canary.trouble() is None
    assert kube.version == 10 + 1000 // 30 + 1


async def test_a_deaf_watch_is_found_within_its_limit_and_can_recover() -> None:
    kube = FakeKube()
    async with running(kube) as canary:
        await asyncio.sleep(100)
        kube.deaf = True
        await asyncio.sleep(20 + 89)
        assert canary.trouble() is None
        await asyncio.sleep(2)
        assert str(canary.trouble()).startswith("the watch is deaf: for 1")
        kube.deaf = False
        await asyncio.sleep(30)
        assert canary.trouble() is None


async def test_a_watch_that_was_deaf_from_the_start_is_found() -> None:
    kube = FakeKube()
    kube.deaf = True
    async with running(kube) as canary:
        await asyncio.sleep(91)
        assert canary.trouble() is not None


async def test_an_old_change_and_another_config_map_are_no_proof() -> None:
    kube = FakeKube()
    kube.deaf = True
    async with running(kube) as canary:
        for _ in range(10):
            await asyncio.sleep(10)
            canary.saw("system", "operator-canary", kube.version - 1)
            canary.saw("other", "operator-canary", kube.version)
            canary.saw("system", "other-canary", kube.version)
        assert canary.trouble() is not None


async def test_an_api_server_that_is_away_is_not_the_watchs_fault() -> None:
    kube = FakeKube()
    async with running(kube) as canary:
        await asyncio.sleep(5)
        kube.deaf = kube.away = True
        await asyncio.sleep(3600)
        assert canary.trouble() is None
        kube.away = False
        await asyncio.sleep(80)
        kube.deaf = False
        await asyncio.sleep(30)
        assert canary.trouble() is None
