"""A HorizontalPodAutoscaler: it alone decides on replicas, and its problem is a condition of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.operator.api import condition, has
from integration.operator.samples import NAME, hpa, make_available, replicas, resource, until_available
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")

HPA = "HorizontalPodAutoscaler"


def scaled(wanted: int) -> Callable[[Object], bool]:
    return lambda live: bool(live["spec"]["replicas"] == wanted)


def owners(deployment: Object) -> set[str]:
    """The field managers of the Deployment's replicas."""
    entries = deployment["metadata"]["managedFields"]
    return {entry["manager"] for entry in entries if "f:replicas" in entry["fieldsV1"].get("f:spec", {})}


def scale(api: Api, wanted: int) -> None:
    """What an autoscaler does: it sets the Deployment's scale."""
    api.patch("Deployment", NAME, {"spec": {"replicas": wanted}}, "/scale")


def test_it_is_made_for_the_deployment(api: Api) -> None:
    api.create(resource(autoscaling=hpa(2, 6) | {"targetUtilization": 80}))
    live = api.until_the(HPA, NAME, lambda _: True)
    assert live["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (live["spec"]["minReplicas"], live["spec"]["maxReplicas"]) == (2, 6)
    (metric,) = live["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "rochallor_worker_utilization_ratio"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "800m"}
    status = api.until_the("RochallorWorker", NAME, lambda seen: "autoscaler" in seen.get("status", {}))["status"]
    assert status["autoscaler"] == {"kind": HPA, "name": NAME, "minReplicas": 2, "maxReplicas": 6}
    api.until("Deployment", NAME, replicas(2))
    make_available(api, 2)
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available", "2 of 2"))


def test_replicas_stay_when_an_autoscaler_is_added(api: Api) -> None:
    api.create(resource(replicas=3))
    make_available(api, 3)
    generation = api.the("Deployment", NAME)["metadata"]["generation"]
    api.patch("RochallorWorker", NAME, {"spec": {"autoscaling": hpa(1, 5)}})
    live = api.until_the("Deployment", NAME, lambda seen: "rochallor-operator" not in owners(seen))
    api.until_the(HPA, NAME, lambda _: True)
    api.until_the("RochallorWorker", NAME, lambda seen: "autoscaler" in seen["status"])
    live = api.the("Deployment", NAME)
    assert live["spec"]["replicas"] == 3
    assert live["metadata"]["generation"] == generation, "not even for a moment"
    assert owners(live) == {"rochallor-operator-replicas"}


def test_replicas_are_left_alone_until_autoscaling_ends(api: Api) -> None:
    api.create(resource(replicas=2, autoscaling=hpa(1, 9)))
    api.until_the(HPA, NAME, lambda _: True)
    make_available(api, 1)
    scale(api, 7)
    make_available(api, 7)
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})  # the whole wish is applied
    api.until_the("RochallorWorker", NAME, has("Progressing", "True", "RollingOut"))
    until_available(api)
    assert api.the("Deployment", NAME)["spec"]["replicas"] == 7
    assert "rochallor-operator" not in owners(api.the("Deployment", NAME))
    api.replace("RochallorWorker", NAME, {"spec": resource(replicas=2)["spec"]})
    api.until(HPA, NAME, lambda found: found is None)
    live = api.until_the("Deployment", NAME, scaled(2))
    assert owners(live) == {"rochallor-operator"}
    live = api.until_the("RochallorWorker", NAME, lambda seen: "autoscaler" not in seen["status"])
    assert condition(live, "AutoscalerReady") == {}


def test_suspend_removes_the_autoscaler_and_then_the_pods(api: Api) -> None:
    api.create(resource(autoscaling=hpa(2, 5)))
    api.until_the(HPA, NAME, lambda _: True)
    make_available(api, 2)
    api.patch("RochallorWorker", NAME, {"spec": {"suspend": True}})
    api.until_the("Deployment", NAME, scaled(0))
    assert api.get(HPA, NAME) is None
    live = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Suspended"))
    assert "autoscaler" not in live["status"]
    api.patch("RochallorWorker", NAME, {"spec": {"suspend": False}})
    # A HorizontalPodAutoscaler leaves zero pods alone, so there must be its minimum from the start.
    live = api.until_the("Deployment", NAME, scaled(2))
    assert owners(live) == {"rochallor-operator-replicas"}
    api.until_the(HPA, NAME, lambda _: True)


def test_an_autoscaler_is_not_left_at_zero_pods(api: Api) -> None:
    """A HorizontalPodAutoscaler would leave them at zero forever."""
    api.create(resource(autoscaling=hpa(2, 5)))
    make_available(api, 2)
    scale(api, 0)
    live = api.until_the("Deployment", NAME, scaled(2))
    assert owners(live) == {"rochallor-operator-replicas"}


FROM_ZERO: Object = {
    "engine": {"url": "http://engine:8080", "databaseSecret": {"name": "db", "key": "dsn"}},
    "autoscaling": hpa(0, 5) | {"backlog": {}},
}


def test_everything_that_it_can_scale_on_is_accepted(api: Api) -> None:
    behavior = {"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0.05}}
    wish = FROM_ZERO["autoscaling"] | {"targetWait": "1500ms", "behavior": behavior}
    api.create(resource(**FROM_ZERO | {"autoscaling": wish}))
    spec = api.until_the(HPA, NAME, lambda _: True)["spec"]
    assert spec["minReplicas"] == 0
    assert [metric["type"] for metric in spec["metrics"]] == ["Pods", "Pods", "External"]
    assert spec["metrics"][1]["pods"]["target"] == {"type": "AverageValue", "averageValue": "1500m"}
    assert spec["metrics"][2]["external"]["metric"]["selector"] == {"matchLabels": {"worker": NAME}}
    assert [spec["behavior"][way]["tolerance"] for way in ("scaleUp", "scaleDown")] == ["0", "50m"]


def test_a_zero_of_someone_else_becomes_one(api: Api) -> None:
    """The HorizontalPodAutoscaler would leave it alone, whatever waits."""
    api.create(resource(**FROM_ZERO))
    make_available(api, 1)
    scale(api, 0)
    # The control plane's own controller says ScalingDisabled. It checks every 15 s.
    live = api.until_the("Deployment", NAME, scaled(1), timeout=60)
    assert owners(live) == {"rochallor-operator-replicas"}


def test_a_zero_of_the_autoscaler_stays_while_its_metric_is_away(api: Api) -> None:
    api.create(resource(**FROM_ZERO))
    make_available(api, 1)
    own = {"type": "ScaledToZero", "status": "True", "reason": "ScaledToZero", "message": "scaled to zero"}
    good = {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "fine"}
    api.patch(HPA, NAME, {"status": {"conditions": [own, good]}}, "/status")
    scale(api, 0)
    words = ("AutoscalerReady", "False", "MetricsUnavailable", "unable to get metric")
    api.until_the("RochallorWorker", NAME, has(*words), timeout=60)
    assert api.the("Deployment", NAME)["spec"]["replicas"] == 0


def test_a_step_of_the_autoscaler_keeps_it_ready(api: Api) -> None:
    api.create(resource(autoscaling=hpa(2, 5)))
    make_available(api, 2)
    live = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    since = condition(live, "Ready")["lastTransitionTime"]
    scale(api, 3)
    live = api.until_the("RochallorWorker", NAME, has("Progressing", "True", "RollingOut"))
    assert has("Ready", "True", "Available")(live)
    make_available(api, 3)
    live = api.until_the("RochallorWorker", NAME, has("Progressing", "False", "Available"))
    assert condition(live, "Ready")["lastTransitionTime"] == since


def test_missing_metrics_are_the_autoscalers_own_problem(api: Api) -> None:
    api.create(resource(autoscaling=hpa()))
    make_available(api, 1)
    # The control plane's own controller says this: nothing serves the metric here. It checks every 15 s.
    words = ("unable to get metric rochallor_worker_utilization_ratio",)
    live = api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "MetricsUnavailable", *words))
    assert has("Ready", "True", "Available")(live)
    assert has("Degraded", "False", "Healthy")(live)
    good = {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "fine"}

    def in_place() -> bool:
        api.patch(HPA, NAME, {"status": {"conditions": [good]}}, "/status")  # the controller takes it back every 15 s
        return has("AutoscalerReady", "True", "InPlace")(api.the("RochallorWorker", NAME))

    wait_until(in_place, every=0.2)


def test_the_columns_fit_a_screen(api: Api) -> None:
    api.create(resource("payments-in-the-north-of-europe", autoscaling=hpa(10, 100)))
    api.until_the(
        "RochallorWorker", "payments-in-the-north-of-europe", lambda seen: "autoscaler" in seen.get("status", {})
    )
    columns, (row,) = api.table("RochallorWorker")
    assert columns == ["Name", "Ready", "Transport", "Replicas", "Available", "Min", "Max", "Reason", "Age"]
    assert row[5:7] == [10, 100]
    row[7] = "ProgressDeadlineExceeded"
    widths = [max(len(column), len(str(cell))) for column, cell in zip(columns, row, strict=True)]
    assert sum(widths) + 3 * (len(widths) - 1) <= 120, "kubectl puts three spaces between columns"
