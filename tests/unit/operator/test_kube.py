"""What may stand in the API server's or a kubeconfig's place. (The real ones: tests/integration.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from rochallor_operator.errors import KubernetesError, StartError
from rochallor_operator.kube import Kube, load_configuration
from rochallor_operator.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable
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
async def test_what_is_no_kubeconfig_is_one_sentence(kubeconfig: Callable[[bytes], str], content: bytes) -> None:
    path = kubeconfig(content)
    with pytest.raises(StartError) as caught:
        await load_configuration()
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_certificates_that_are_none_are_one_sentence(kubeconfig: Callable[[bytes], str]) -> None:
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
        Kube(configuration, Recent(lambda: 0))


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_an_answer_that_is_no_json_is_passing_trouble(kind: str) -> None:
    """A proxy in the API server's place may send its own page with status 200."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=b"<html>\xff", content_type=kind)

    api = web.Application()
    api.router.add_route("*", "/{path:.*}", page)
    async with TestServer(api) as server:
        kube = Kube(Configuration(host=str(server.make_url(""))), Recent(lambda: 0))
        try:
            with pytest.raises(KubernetesError, match="sends no JSON") as caught:
                await kube.read("ConfigMap", "shop", "code")
        finally:
            await kube.close()
    assert caught.value.status is None
