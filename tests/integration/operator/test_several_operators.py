"""O11: two releases that serve one namespace, each with the chart's rights, and with different worker images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import has
from integration.operator.conftest import ACCOUNT, released
from integration.operator.process import SYSTEM
from integration.operator.samples import NAME, container, environment, resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api, Object
    from integration.operator.process import Operator

SHORT_TIMES = {"claims.ANSWER_S": 10, "claims.FORGET_S": 60}
"""On a busy machine an operator that lives may need seconds for its answer."""


@pytest.fixture
def first(api: Api, cluster: Api, control_plane: ControlPlane) -> Iterator[Callable[..., Operator]]:
    with released(control_plane, cluster, api.namespace) as make:
        yield make


@pytest.fixture
def second(api: Api, cluster: Api, control_plane: ControlPlane) -> Iterator[Callable[..., Operator]]:
    with released(control_plane, cluster, api.namespace, "other-") as make:
        yield make


def image(name: str) -> Callable[[Object], bool]:
    return lambda deployment: container(deployment)["image"] == name


def test_the_second_one_leaves_the_resource_to_the_first(
    api: Api, first: Callable[..., Operator], second: Callable[..., Operator]
) -> None:
    with first(worker_image="worker:1") as one:
        one.event("watching")
        api.create(resource())
        before = api.until_the("Deployment", NAME, image("worker:1"))
        name = f"{SYSTEM}/{api.namespace}-{ACCOUNT}"
        api.until_the("RochallorWorker", NAME, lambda live: live.get("status", {}).get("operator") == name)
        with second(worker_image="worker:2") as two:
            two.event("watching")
            sentence = f"the operator {SYSTEM}/other-{api.namespace}-{ACCOUNT} serves this namespace too"
            words = ("Degraded", "True", "SeveralOperators", sentence, f"the operator {name}:")
            api.until_the("RochallorWorker", NAME, has(*words))
            assert two.event("left to another operator")["operator"] == name
            api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
            live = api.until_the("Deployment", NAME, lambda seen: environment(seen)["ROCHALLOR_PARALLELISM"] == "8")
            assert image("worker:1")(live)
            assert live["metadata"]["generation"] == before["metadata"]["generation"] + 1
            api.until_the("RochallorWorker", NAME, has(*words))
            events = [item for item in api.every("Event") if item["reason"] == "SeveralOperators"]
            assert len(events) == 1
            assert one.count("left to another operator") == 0
            assert two.count("left to another operator") == 1


def test_the_second_one_takes_over_when_the_first_is_removed(
    api: Api, first: Callable[..., Operator], second: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT_TIMES", json.dumps(SHORT_TIMES))
    module = "integration.operator.short_times"
    with first(worker_image="worker:1", module=module) as one:
        one.event("watching")
        api.create(resource())
        api.until_the("Deployment", NAME, image("worker:1"))
        with second(worker_image="worker:2", module=module) as two:
            two.event("watching")
            api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SeveralOperators"))
            # Three challenges later the first one still has it.
            asked = set()

            def thrice(live: Object) -> bool:
                asked.add(live["status"].get("answer"))
                return len(asked) == 3

            api.until_the("RochallorWorker", NAME, thrice)
            assert image("worker:1")(api.the("Deployment", NAME))
            one.process.kill()
            api.until_the("Deployment", NAME, image("worker:2"))
            two.event("taking over from another operator")
            api.until_the(
                "RochallorWorker",
                NAME,
                lambda live: (
                    live["status"]["operator"].startswith(f"{SYSTEM}/other-") and "challenge" not in live["status"]
                ),
            )
            api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
        assert two.count("reconcile failed") == 0
