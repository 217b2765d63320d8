"""The watch of Secrets and ConfigMaps on a virtual clock, against a scripted API server."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.errors import KubernetesError, SilenceError, WatchError
from rochallor_operator.watch.sources import SourceWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

pytestmark = pytest.mark.looptime

Step = Exception | tuple[str, str, int]
"""The next step of a watch: an error, or an event's type, the object's name and its version."""


class FakeKube:
    """Lists version 10, 20, …; each watch request delivers the next of the given steps and lasts as long as asked."""

    def __init__(self, *watches: Sequence[Step], lists: Sequence[Exception] = (), hasty: bool = False) -> None:
        self._watches = deque(watches)
        self._lists = deque(lists)
        self._hasty = hasty
        self.listed = 0
        self.asked: list[tuple[float, str]] = []
        """When, and since which version."""

    async def version(self, _kind: str, _namespace: str) -> str:
        if self._lists:
            raise self._lists.popleft()
        self.listed += 1
        return f"{10 * self.listed}"

    async def changes(self, _kind: str, _namespace: str, version: str, seconds: float) -> AsyncIterator[Manifest]:
        self.asked.append((asyncio.get_running_loop().time(), version))
        for step in self._watches.popleft() if self._watches else []:
            if isinstance(step, Exception):
                raise step
            kind, name, seen = step
            metadata = {"namespace": "shop", "name": name, "resourceVersion": f"{seen}"}
            yield {"type": kind, "object": {"metadata": metadata}}
        await asyncio.sleep(0 if self._hasty else seconds)


class Received:
    """Records the calls."""

    def __init__(self) -> None:
        self.changed: list[tuple[str, str, str, int]] = []
        self.renewed: list[tuple[str, str]] = []


@asynccontextmanager
async def watching(kube: FakeKube, received: Received) -> AsyncIterator[SourceWatch]:
    watch = SourceWatch(
        cast("Kube", kube),
        "Secret",
        "shop",
        lambda *change: received.changed.append(change),
        lambda *place: received.renewed.append(place),
    )
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()


async def test_changes_are_delivered_and_a_watch_continues_where_the_last_one_ended() -> None:
    kube, received = FakeKube([("MODIFIED", "token", 12), ("DELETED", "token", 13), ("BOOKMARK", "", 17)]), Received()
    async with watching(kube, received):
        await asyncio.sleep(200)
    assert received.changed == [("Secret", "shop", "token", 12), ("Secret", "shop", "token", 13)]
    assert [version for _, version in kube.asked[:2]] == ["10", "17"]
    assert received.renewed == [("Secret", "shop")], "there was no gap"


EXPIRED = KubernetesError(410, "too old resource version")


@pytest.mark.parametrize("gap", [EXPIRED, SilenceError(None, "silent")])
async def test_after_a_gap_all_users_are_reconciled(gap: Exception) -> None:
    kube, received = FakeKube([("MODIFIED", "token", 12), gap]), Received()
    async with watching(kube, received):
        await asyncio.sleep(5)
    assert [version for _, version in kube.asked] == ["10", "20"]
    assert received.renewed == [("Secret", "shop")] * 2


async def test_an_unreachable_api_server_is_tried_at_growing_intervals_and_nothing_is_lost() -> None:
    away = KubernetesError(None, "refused")
    kube, received = FakeKube([("MODIFIED", "token", 12), away], *[[away]] * 20), Received()
    async with watching(kube, received) as watch:
        await asyncio.sleep(300)
        assert watch.silence() <= 30, "a restart would not help"
    assert 10 < len(kube.asked) < 20
    assert {version for _, version in kube.asked[1:]} == {"12"}
    assert received.renewed == [("Secret", "shop")]


async def test_a_watch_that_always_ends_immediately_is_no_flood() -> None:
    kube = FakeKube(hasty=True)
    async with watching(kube, Received()):
        await asyncio.sleep(300)
    assert len(kube.asked) < 20


async def test_the_api_server_says_how_long_to_wait() -> None:
    busy = KubernetesError(429, "too many requests", retry_after=30)
    kube = FakeKube([busy], lists=[busy])
    async with watching(kube, Received()):
        await asyncio.sleep(90)
    assert [round(when) for when, _ in kube.asked] == [30, 60]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_ends_it(status: int) -> None:
    kube, received = FakeKube(lists=[KubernetesError(status, "you may not list secrets")]), Received()
    watch = SourceWatch(
        cast("Kube", kube), "Secret", "", lambda *_: None, lambda *place: received.renewed.append(place)
    )
    with pytest.raises(WatchError, match="watching failed: you may not list secrets"):
        await watch.run()
    assert received.renewed == []


async def test_a_watch_that_never_delivers_anything_is_silent() -> None:
    """An orderly end proves nothing; a bookmark does."""
    async with (
        watching(FakeKube(), Received()) as quiet,
        watching(FakeKube(*[[SilenceError(None, "")]] * 99), Received()) as stuck,
    ):
        await asyncio.sleep(1000)
        assert quiet.silence() == stuck.silence() == 1000
    async with watching(FakeKube(*[[("BOOKMARK", "", 17)]] * 20), Received()) as alive:
        await asyncio.sleep(1000)
        assert alive.silence() <= 121


async def test_an_error_within_the_watch_counts_as_one() -> None:
    class Erring(FakeKube):
        async def changes(self, _kind: str, _namespace: str, version: str, seconds: float) -> AsyncIterator[Manifest]:
            self.asked.append((asyncio.get_running_loop().time(), version))
            if len(self.asked) == 1:
                yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
            await asyncio.sleep(seconds)

    kube, received = Erring(), Received()
    async with watching(kube, received):
        await asyncio.sleep(5)
    assert [version for _, version in kube.asked] == ["10", "20"]
    assert received.renewed == [("Secret", "shop")] * 2
