"""The objects the operator makes, pinned as YAML.

A new version of the operator must not roll pods whose spec did not change, so a difference here is a decision: look at
it, then write the files anew with `python -m unit.operator.test_desired` in tests/.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from rochallor_operator.desired.deployment import deployment
from rochallor_operator.desired.service import service
from unit.operator.samples import worker

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

GOLDEN = Path(__file__).parent / "golden"
FULL: Manifest = {
    "jobTypes": ["charge-card", "refund"],
    "parallelism": 8,
    "pollInterval": "1s",
    "handlerTimeout": "20s",
    "drainTimeout": "1500ms",
    "handlers": {"configMap": {"name": "payment-handlers", "module": "handlers:registry"}},
    "image": "registry.example.com/shop/worker:7",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
    "env": [
        {"name": "STAGE", "value": "test"},
        {"name": "PYTHONPATH", "value": "/handlers:/app/lib"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "gateway", "key": "token"}}},
    ],
    "envFrom": [{"configMapRef": {"name": "common"}}],
}
CASES: dict[str, Manifest] = {
    "deployment-minimal": deployment(worker(), "worker:1", None),
    "deployment-full": deployment(worker(**FULL), "worker:1", "0123456789abcdef"),
    "service": service(worker()),
}


def _text(manifest: Manifest) -> str:
    return yaml.safe_dump(manifest, sort_keys=False)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    assert _text(CASES[name]) == (GOLDEN / f"{name}.yaml").read_text()


def test_a_suspended_worker_keeps_its_pod_template() -> None:
    running, suspended = (deployment(worker(suspend=flag), "worker:1", None) for flag in (False, True))
    assert suspended["spec"]["replicas"] == 0
    assert suspended["spec"]["template"] == running["spec"]["template"]


def test_replicas_do_not_touch_the_pod_template() -> None:
    one, two = (deployment(worker(replicas=number), "worker:1", None) for number in (1, 2))
    assert one["spec"]["template"] == two["spec"]["template"]


@pytest.mark.parametrize(("drain", "grace"), [("25s", 35), ("1500ms", 12), ("10m", 610)])
def test_a_pod_may_live_ten_seconds_longer_than_its_drain(drain: str, grace: int) -> None:
    made = deployment(worker(drainTimeout=drain), "worker:1", None)
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace


if __name__ == "__main__":
    for case, manifest in CASES.items():
        (GOLDEN / f"{case}.yaml").write_text(_text(manifest))
