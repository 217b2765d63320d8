"""The key of the hashes on the pods: its creation and reading."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.content.hash_key import RETRY_S, wait_for_key
from rochallor_operator.errors import KubernetesError
from rochallor_operator.runtime.health import Health

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

pytestmark = pytest.mark.looptime

OTHERS: Manifest = {"data": {"key": base64.b64encode(b"another replica's key, of 32 by.").decode()}}


class FakeKube:
    """Holds the Secret of an operator's namespace."""

    def __init__(self, live: Manifest | None = None) -> None:
        self.live = live
        self.refuses: KubernetesError | None = None
        self.quicker: Manifest | None = None
        """The Secret that another replica creates between our read and our create."""

    async def read(self, _kind: str, _namespace: str, name: str) -> Manifest | None:
        assert name == "operator-hash-key"
        await asyncio.sleep(0)
        return self.live

    async def create(self, manifest: Manifest) -> Manifest:
        if self.refuses is not None:
            raise self.refuses
        if self.quicker is not None:
            self.live = self.quicker
        if self.live is not None:
            raise KubernetesError(409, "already exists")
        self.live = manifest
        return manifest


async def keyed(kube: FakeKube, state: Health | None = None) -> bytes:
    return await wait_for_key(cast("Kube", kube), state or Health(), "system", "operator")


async def test_it_is_created_once_and_read_at_every_later_start() -> None:
    kube = FakeKube()
    first = await keyed(kube)
    assert len(first) == 32
    assert kube.live is not None
    assert kube.live["immutable"] is True
    assert await keyed(kube) == first
    assert await keyed(FakeKube()) != first


async def test_two_replicas_that_create_it_at_the_same_time_have_the_same() -> None:
    kube = FakeKube()
    kube.quicker = OTHERS
    assert await keyed(kube) == b"another replica's key, of 32 by."
    kube = FakeKube()
    one, two = await asyncio.gather(keyed(kube), keyed(kube))
    assert one == two


async def test_without_it_the_operator_says_so_once_and_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    kube, state = FakeKube(), Health()
    kube.refuses = KubernetesError(403, 'cannot create resource "secrets" in the namespace "system"')
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(keyed(kube, state))
        await asyncio.sleep(5 * RETRY_S)
        assert not task.done()
        assert state.not_ready is not None
        assert 'cannot create resource "secrets" in the namespace "system"' in state.not_ready
        assert [record.message for record in caplog.records] == [state.not_ready]
        kube.refuses = None
        assert len(await task) == 32


@pytest.mark.parametrize(
    "live",
    [{}, {"data": None}, {"data": {"key": "?"}}, {"data": {"key": base64.b64encode(b"0000").decode()}}],
)
async def test_a_secret_without_a_key_is_named_and_waited_for(live: Manifest) -> None:
    kube, state = FakeKube(live), Health()
    task = asyncio.create_task(keyed(kube, state))
    await asyncio.sleep(RETRY_S)
    assert state.not_ready == "the Secret system/operator-hash-key holds no valid hash key: delete it; waiting for that"
    kube.live = None
    assert len(await task) == 32
