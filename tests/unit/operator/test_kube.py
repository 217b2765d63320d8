"""Wrong kubeconfigs, and answers that are not from an API server. (The real ones: tests/integration.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from rochallor_operator.cluster.cache import Cache
from rochallor_operator.cluster.client import load_configuration
from rochallor_operator.cluster.kube import Kube
from rochallor_operator.errors import KubernetesError, StartError
from rochallor_operator.names import KIND, MANAGED_BY_LABEL, MANAGER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from rochallor_operator.names import Manifest


@pytest.fixture
def kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], str]:
    """Make this the content of the kubeconfig; its path."""

    def write(content: bytes) -> str:
        path = tmp_path / "config"
        path.write_bytes(content)
        monkeypatch.setenv("KUBECONFIG", str(path))
        for module in (config, config.kube_config):
            monkeypatch.setattr(module, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        return str(path)

    return write


@pytest.mark.parametrize("content", [b"", b"a: [", b"- 1", b"hello", b"\xff\xfe\x00", b"current-context: a"])
async def test_an_invalid_kubeconfig_is_one_sentence(kubeconfig: Callable[[bytes], str], content: bytes) -> None:
    path = kubeconfig(content)
    with pytest.raises(StartError) as caught:
        await load_configuration()
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_invalid_certificates_are_one_sentence(kubeconfig: Callable[[bytes], str]) -> None:
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": "AAAA"}
    content: Manifest = {
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    kubeconfig(yaml.safe_dump(content).encode())
    configuration = await load_configuration()
    with pytest.raises(StartError, match="the certificates for the cluster can't be used: "):
        Kube(configuration, Cache(lambda: 0))


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_an_answer_that_is_not_json_is_a_transient_error(kind: str) -> None:
    """A proxy may send a page of its own with status 200."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=b"<html>\xff", content_type=kind)

    api = web.Application()
    api.router.add_route("*", "/{path:.*}", page)
    async with TestServer(api) as server:
        kube = Kube(Configuration(host=str(server.make_url(""))), Cache(lambda: 0))
        try:
            with pytest.raises(KubernetesError, match="non-JSON answer") as caught:
                await kube.read("ConfigMap", "shop", "code")
        finally:
            await kube.close()
    assert caught.value.status is None


async def reads(kind: str, labels: dict[str, str]) -> int:
    """How many requests two reads in a row take."""
    requests = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        metadata = {"namespace": "shop", "name": "payments", "resourceVersion": "7", "labels": labels}
        return web.json_response({"metadata": metadata})

    api = web.Application()
    api.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(api) as server:
        kube = Kube(Configuration(host=str(server.make_url(""))), Cache(lambda: 0))
        try:
            assert await kube.get(kind, "shop", "payments") == await kube.get(kind, "shop", "payments")
        finally:
            await kube.close()
    return requests


@pytest.mark.parametrize("kind", [KIND, "Deployment", "Service", "ScaledObject"])
async def test_what_the_watches_follow_is_read_once(kind: str) -> None:
    assert await reads(kind, {MANAGED_BY_LABEL: MANAGER}) == 1


@pytest.mark.parametrize(
    ("kind", "manager"), [("Secret", MANAGER), ("ConfigMap", MANAGER), ("Service", "helm"), ("ServiceAccount", "")]
)
async def test_contents_and_the_objects_of_others_are_read_each_time(kind: str, manager: str) -> None:
    assert await reads(kind, {MANAGED_BY_LABEL: manager}) == 2


async def test_an_operator_that_no_longer_leads_writes_nothing() -> None:
    """Nobody listens at that address: a request would fail otherwise."""
    kube = Kube(Configuration(host="http://127.0.0.1:1"), Cache(lambda: 0))
    kube.may_write = lambda: False
    child: Manifest = {"kind": "Service", "apiVersion": "v1", "metadata": {"namespace": "shop", "name": "payments"}}
    live: Manifest = {"metadata": child["metadata"] | {"uid": "u"}}
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: kube.apply(child),
        lambda: kube.apply_status(child),
        lambda: kube.hand_over_replicas(live, 2),
        lambda: kube.delete("Service", "shop", "payments", "u"),
        lambda: kube.annotate_pod("shop", "payments-1", {"a": None}),
    ]
    try:
        for write in writes:
            with pytest.raises(KubernetesError, match="this operator no longer leads"):
                await write()
    finally:
        await kube.close()
