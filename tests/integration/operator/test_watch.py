"""A watch that falls silent is found; an API server that is away is waited for."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml

from cluster.controlplane import ControlPlane
from integration.operator.api import Api
from integration.operator.conftest import CHART, helm
from integration.operator.process import Operator
from integration.operator.proxy import Proxy
from integration.operator.samples import NAME, resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.timeout(240)
LIMIT = 6
"""Seconds; the canary sings every 2 s."""


def through(kubeconfig: Path, port: int) -> Path:
    """The same cluster by way of a proxy."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = kubeconfig.with_name("proxied.kubeconfig")
    path.write_text(yaml.safe_dump(config))
    return path


def lives_until(operator: Operator, wanted: Callable[[httpx.Response], bool], seconds: int) -> httpx.Response:
    """Ask /livez again and again while the process lives, until its answer is so."""
    answer = operator.http("/livez")
    for _ in range(seconds * 4):
        if wanted(answer):
            return answer
        with pytest.raises(subprocess.TimeoutExpired):
            operator.process.wait(0.25)
        answer = operator.http("/livez")
    raise AssertionError(f"/livez says {answer.text!r}")


def test_a_silent_watch_fails_livez_until_it_is_heard_again(
    api: Api, kubeconfig: Path, control_plane: ControlPlane
) -> None:
    target = urlsplit(control_plane.url).port
    assert target is not None
    with (
        Proxy(target) as proxy,
        Operator(through(kubeconfig, proxy.port), watch_limit_seconds=str(LIMIT)) as operator,
    ):
        api.create(resource())
        api.until_the("Deployment", NAME, lambda _: True)
        lives_until(operator, lambda _: operator.metric("rochallor_operator_watch_age_seconds") < LIMIT / 3, 10)
        assert operator.http("/livez").status_code == 200

        proxy.silence()
        answer = lives_until(operator, lambda given: given.status_code == 503, 60)
        assert answer.text.startswith("the watch is deaf: for ")
        assert operator.http("/readyz").status_code == 200

        proxy.resume()
        lives_until(operator, lambda given: given.status_code == 200, 30)
        api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
        api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 2)


@pytest.fixture
def bare() -> Iterator[ControlPlane]:
    """A control plane of the test's own, with the chart installed."""
    with ControlPlane() as running:
        helm(running, "install", "rochallor-operator", str(CHART), "--create-namespace")
        yield running


def test_an_api_server_that_is_away_for_long_is_waited_for(bare: ControlPlane) -> None:
    with Operator(bare.kubeconfig, watch_limit_seconds=str(LIMIT)) as operator, Api(bare.kubeconfig) as api:
        operator.event("watching")
        api.create(resource())
        api.until_the("Deployment", NAME, lambda _: True)

        bare.stop_apiserver()
        with pytest.raises(AssertionError, match="says 'ok"):
            lives_until(operator, lambda given: given.status_code != 200, 35)
        operator.event("the watch can't be tested")

        bare.start_apiserver()
        api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
        api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 2, timeout=40)
        lives_until(operator, lambda _: operator.metric("rochallor_operator_watch_age_seconds") < LIMIT / 3, 20)
        assert operator.http("/livez").status_code == 200
