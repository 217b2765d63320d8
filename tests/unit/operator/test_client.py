"""Lists, watches and waits against a scripted API server."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from rochallor_operator.cluster import client
from rochallor_operator.cluster.cache import Cache
from rochallor_operator.cluster.client import PAGE_BYTES, Client, path_of
from rochallor_operator.cluster.kube import Kube
from rochallor_operator.cluster.reads import POD_BYTES
from rochallor_operator.errors import KubernetesError, SilenceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rochallor_operator.names import Manifest

SECRETS = path_of("Secret", "")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is too late, however slow the machine is: some here have 40 MB, and both sides share a thread."""
    monkeypatch.setattr(client, "_TIMEOUT", aiohttp.ClientTimeout(total=120))


@asynccontextmanager
async def server(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Configuration]:
    api = web.Application()
    api.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(api) as running:
        yield Configuration(host=str(running.make_url("")))


KEPT = {"controller.kubernetes.io/pod-deletion-cost": "1", "rochallor.io/ready-pods": "6"}


class Pods:
    """Many pods of a size, as the API server lists them, page by page."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size
        self.limits: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        begin, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        assert request.query["labelSelector"] == "rochallor.io/worker=payments"
        assert "resourceVersion" not in request.query, "the API server would ignore the limit"
        self.limits.append(limit)
        end = min(begin + limit, self._count)
        more = {"continue": f"{end}"} if end < self._count else {}
        return web.json_response({"metadata": more, "items": [self._pod(number) for number in range(begin, end)]})

    def _pod(self, number: int) -> Manifest:
        return {
            "metadata": {
                "name": f"pod-{number}",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"pod-template-hash": "5d", "other": "label"},
                "annotations": KEPT | {"other": "annotation"},
                "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {"containers": [{"env": [{"name": "A", "value": "x" * self._size}]}]},
            "status": {"phase": "Running"},
        }


async def look(pods: Pods) -> list[Manifest]:
    async with server(pods.answer) as configuration:
        kube = Kube(configuration, Cache(lambda: 0))
        try:
            return await kube.pods("shop", {"rochallor.io/worker": "payments"})
        finally:
            await kube.close()


async def test_all_ordinary_pods_are_read_and_little_of_each_is_kept() -> None:
    pods = Pods(900, size=8000)
    found = await look(pods)
    assert len(found) == 900
    assert found[0] == {
        "metadata": {
            "name": "pod-0",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"pod-template-hash": "5d"},
            "annotations": KEPT,
        },
        "spec": {"containers": [{}]},
        "status": {"phase": "Running"},
    }
    assert len(pods.limits) < 20, "pages grow"


@pytest.mark.parametrize("size", [77_000, 1_400_000, PAGE_BYTES + 1])
async def test_few_huge_pods_are_read(size: int) -> None:
    """O9: 1,000 replicas with 256 variables of 300 characters each were read whole."""
    pods = Pods(1000, size)
    found = await look(pods)
    assert 0 < len(found) <= (POD_BYTES + PAGE_BYTES) / size + 1
    assert len(pods.limits) < 30


async def test_a_list_of_nothing_is_empty() -> None:
    """The API server sends null, if only metadata is asked for."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept"] == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": None})

    async with server(answer) as configuration:
        kube = Kube(configuration, Cache(lambda: 0))
        assert await kube.keys("") == []
        assert await kube.version("Secret", "") == "7"
        await kube.close()


async def test_a_watch_asks_for_metadata_and_bookmarks_and_reads_events_however_they_are_cut() -> None:
    event = {"type": "MODIFIED", "object": {"metadata": {"name": "ä" * 100_000, "resourceVersion": "8"}}}
    text = json.dumps(event, ensure_ascii=False).encode() + b"\n"

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.path == "/api/v1/namespaces/shop/secrets"
        assert request.headers["Accept"] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        asked = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "7", "timeoutSeconds": "5"}
        assert dict(request.query) == asked
        response = web.StreamResponse()
        await response.prepare(request)
        for begin in range(0, 3 * len(text), 70_001):
            await response.write((3 * text)[begin : begin + 70_001])
        return response

    async with server(answer) as configuration:
        kube = Kube(configuration, Cache(lambda: 0))
        assert [found async for found in kube.changes("Secret", "shop", "7", 5.5)] == [event] * 3
        await kube.close()


@pytest.mark.parametrize("begins", [True, False])
async def test_a_watch_that_does_not_end_is_silent(monkeypatch: pytest.MonkeyPatch, *, begins: bool) -> None:
    monkeypatch.setattr(client, "GRACE_S", 0.1)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if begins:
            await response.prepare(request)
        await over.wait()
        return response

    over = asyncio.Event()
    async with server(answer) as configuration:
        api = Client(configuration)
        with pytest.raises(SilenceError, match="did not end a watch of Secrets in time"):
            async for _ in api.watch("Secret", SECRETS, 0.1):
                pass
        over.set()
        await api.close()


async def test_an_unreachable_api_server_is_not_silent() -> None:
    api = Client(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(KubernetesError, match="can't be reached") as caught:
        async for _ in api.watch("Secret", SECRETS, 0.1):
            pass
    assert not isinstance(caught.value, SilenceError)
    await api.close()


@pytest.mark.parametrize(("header", "wait"), [("30", 30), ("86400", 60), ("soon", 0), (None, 0)])
async def test_after_429_nothing_is_sent_for_as_long_as_the_api_server_says(
    monkeypatch: pytest.MonkeyPatch, header: str | None, wait: int
) -> None:
    """B11: 48 requests came in 40 s with Retry-After: 30."""
    now = 1000.0
    monkeypatch.setattr(client, "monotonic", lambda: now)
    came: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        came.append(request.path)
        return web.json_response({}, status=429, headers={"Retry-After": header} if header else {})

    async with server(answer) as configuration:
        api = Client(configuration)

        async def ask(kind: str = "Service", **options: Any) -> float:
            with pytest.raises(KubernetesError) as caught:
                await api.request("get", kind, path_of(kind, "shop", "a"), **options)
            assert caught.value.status == 429
            return caught.value.retry_after

        assert await ask() == wait
        now += 10
        if wait:
            assert await ask("Secret") == wait - 10
            assert len(came) == 1
            await ask("Lease")
            assert came[1:] == ["/apis/coordination.k8s.io/v1/namespaces/shop/leases/a"], "leases have their own limit"
            now += 60
        before = len(came)
        await ask()
        assert len(came) == before + 1
        await api.close()
