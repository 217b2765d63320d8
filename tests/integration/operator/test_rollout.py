"""Canary rollouts on a real API server, with the real controllers: only the pods and their counters are played."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from integration.operator.api import Api, Object, condition, has
from integration.operator.fleet import Fleet, Version, phase
from integration.operator.process import Operator
from integration.operator.samples import NAME, container, pods, resource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

CANARY = f"{NAME}-canary"
PLAN: Object = {
    "strategy": "Canary",
    "steps": [{"share": "10%", "pause": "1s"}, {"share": "50%", "pause": "1s"}],
    "gate": {"minJobs": 50},
}


def spec(image: str, **more: Any) -> Object:
    return {"image": image, "replicas": 3, "minReadySeconds": 0, "rollout": PLAN} | more


def versions() -> dict[str, Version]:
    return {"good:1": Version(), "good:2": Version(), "bad:2": Version(0.3), "broken:2": Version(starts=False)}


@contextmanager
def running(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, module: str = "integration.operator.asking"
) -> Iterator[Fleet]:
    """A resource with the good first version, all pods available, and an operator."""
    with Fleet(api, versions()) as fleet:
        monkeypatch.setenv("REPORT_PORT", str(fleet.port))
        monkeypatch.setenv("SHORT_TIMES", json.dumps({"rollout.counters.READ_S": 0.5}))
        api.create(resource(**spec("good:1")))
        with Operator(kubeconfig, module=module, namespaces=api.namespace):
            api.until_the("RochallorWorker", NAME, phase("Stable"))
            api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
            yield fleet


def uids(api: Api) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods(api)}


def change(api: Api, image: str, **more: Any) -> None:
    api.patch("RochallorWorker", NAME, {"spec": {"image": image} | more})


def image_of(deployment: Object) -> str:
    return str(container(deployment)["image"])


def test_a_good_version_is_promoted(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(api, kubeconfig, monkeypatch) as fleet:
        before = uids(api)
        change(api, "good:2")
        live = api.until_the("RochallorWorker", NAME, phase("Progressing", step=1))
        assert condition(live, "Ready")["status"] == "True"
        api.until_the("Deployment", CANARY, lambda live: live is not None)
        assert (image_of(api.the("Deployment", CANARY)), image_of(api.the("Deployment", NAME))) == ("good:2", "good:1")
        live = api.until_the("RochallorWorker", NAME, phase("Progressing", "Waiting", step=2))
        assert condition(live, "Progressing")["reason"] == "Canary"
        assert condition(live, "Reconciling")["status"] == "True"
        assert uids(api) == before
        api.until_the("RochallorWorker", NAME, phase("Stable"))
        assert image_of(api.the("Deployment", NAME)) == "good:2"
        api.until("Deployment", CANARY, lambda live: live is None)
        live = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
        assert "Reconciling" not in {item["type"] for item in live["status"]["conditions"]}
        assert not uids(api) & before
        assert fleet.seen("good:2") > 0
        revisions = [item["metadata"]["name"] for item in api.every("ControllerRevision")]
        assert revisions == [f"{NAME}-{live['status']['rollout']['stableRevision']}"]


def test_a_bad_version_is_removed(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(api, kubeconfig, monkeypatch):
        before, generation = uids(api), api.the("Deployment", NAME)["metadata"]["generation"]
        change(api, "bad:2")
        live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "CanaryFailed", "jobs failed"))
        assert condition(live, "Stalled")["reason"] == "CanaryFailed"
        assert condition(live, "Ready")["status"] == "True"
        api.until("Deployment", CANARY, lambda live: live is None)
        assert uids(api) == before
        assert api.the("Deployment", NAME)["metadata"]["generation"] == generation
        change(api, "good:2")
        api.until_the("RochallorWorker", NAME, phase("Stable"))
        assert image_of(api.the("Deployment", NAME)) == "good:2"


def test_a_version_that_does_not_start_is_removed_before_it_has_a_job(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(api, kubeconfig, monkeypatch) as fleet:
        change(api, "broken:2")
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "CanaryFailed", "boom"))
        api.until("Deployment", CANARY, lambda live: live is None)
        assert fleet.seen("broken:2") == 0
