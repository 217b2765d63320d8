"""The canary on a virtual clock."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.cluster.canary import Canary
from rochallor_operator.errors import KubernetesError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

pytestmark = pytest.mark.looptime


class FakeKube:
    """Counts the changes; calls `on_change` with each, if the watch works."""

    def __init__(self) -> None:
        self.version = 10
        self.away = self.silent = False
        self.on_change: Callable[[int], None] = lambda _: None

    async def create(self, _manifest: Manifest) -> Manifest:
        raise KubernetesError(409, "already exists")

    async def apply(self, _manifest: Manifest) -> Manifest:
        if self.away:
            raise KubernetesError(None, "refused")
        self.version += 1
        if not self.silent:
            self.on_change(self.version)
        return {"metadata": {"resourceVersion": str(self.version)}}


@asynccontextmanager
async def running(kube: FakeKube) -> AsyncIterator[Canary]:
    canary = Canary(cast("Kube", kube), "system", "operator")
    kube.on_change = lambda version: canary.received("system", "operator-canary", version)
    task = asyncio.create_task(canary.run())
    try:
        yield canary
    finally:
        task.cancel()


async def test_a_watch_that_delivers_is_healthy() -> None:
    kube = FakeKube()
    async with running(kube) as canary:
        await asyncio.sleep(1000)
        assert canary.problem() is None
    assert kube.version == 10 + 1000 // 30 + 1


async def test_a_silent_watch_is_found_within_its_limit_and_can_recover() -> None:
    kube = FakeKube()
    async with running(kube) as canary:
        await asyncio.sleep(100)
        kube.silent = True
        await asyncio.sleep(20 + 89)
        assert canary.problem() is None
        await asyncio.sleep(2)
        assert str(canary.problem()).startswith("the watch is silent: for 1")
        kube.silent = False
        await asyncio.sleep(30)
        assert canary.problem() is None


async def test_a_watch_that_was_silent_from_the_start_is_found() -> None:
    kube = FakeKube()
    kube.silent = True
    async with running(kube) as canary:
        await asyncio.sleep(91)
        assert canary.problem() is not None


async def test_an_old_change_and_another_config_map_prove_nothing() -> None:
    kube = FakeKube()
    kube.silent = True
    async with running(kube) as canary:
        for _ in range(10):
            await asyncio.sleep(10)
            canary.received("system", "operator-canary", kube.version - 1)
            canary.received("other", "operator-canary", kube.version)
            canary.received("system", "other-canary", kube.version)
        assert canary.problem() is not None


async def test_an_unreachable_api_server_is_not_the_watchs_fault() -> None:
    kube = FakeKube()
    async with running(kube) as canary:
        await asyncio.sleep(5)
        kube.silent = kube.away = True
        await asyncio.sleep(3600)
        assert canary.problem() is None
        kube.away = False
        await asyncio.sleep(80)
        kube.silent = False
        await asyncio.sleep(30)
        assert canary.problem() is None
