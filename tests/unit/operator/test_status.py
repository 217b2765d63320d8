from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.errors import DegradedError, InvalidSpecError, KubernetesError
from rochallor_operator.observe import Trouble, rollout
from rochallor_operator.reasons import Reason
from rochallor_operator.status import Aside, Observation, status
from unit.operator.samples import deployment, resource, worker

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

AVAILABLE = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
CRASH = Trouble("CrashLoopBackOff", "pod p-1: boom")
MISSING = DegradedError(Reason.CONFIG_MAP_NOT_FOUND, "ConfigMap 'x' with the handlers does not exist")


def seen(
    live: Manifest | None, trouble: Trouble | None = None, degraded: DegradedError | None = None, **spec: object
) -> Observation:
    values = worker(replicas=2, **spec)
    return Observation(values, None if live is None else rollout(live), trouble, degraded)


def brief(observation: Observation, before: Manifest | None = None) -> dict[str, tuple[str, str, str]]:
    result = status(resource() | {"status": before or {}}, observation, "now")
    return {item["type"]: (item["status"], item["reason"], item["message"]) for item in result["conditions"]}


def failure(message: str) -> Manifest:
    return deployment(2, conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}])


# What was seen; then status, reason and message of Ready, of Progressing and of Degraded.
HEALTHY = ("False", "Healthy", "nothing to put right")
CASES = {
    "all pods available": (
        seen(deployment(2, **AVAILABLE)),
        ("True", "Available", "2 of 2 pods available"),
        ("False", "Available", "2 of 2 pods available"),
        HEALTHY,
    ),
    "no Deployment yet": (
        seen(None),
        ("False", "RollingOut", "the Deployment is being created"),
        ("True", "RollingOut", "the Deployment is being created"),
        HEALTHY,
    ),
    "changed a moment ago": (
        seen(deployment(2, **AVAILABLE | {"observedGeneration": 4})),
        ("False", "RollingOut", "the Deployment has been changed"),
        ("True", "RollingOut", "the Deployment has been changed"),
        HEALTHY,
    ),
    "half way": (
        seen(deployment(2, **AVAILABLE | {"replicas": 3, "updatedReplicas": 1})),
        ("False", "RollingOut", "1 of 2 pods updated and available"),
        ("True", "RollingOut", "1 of 2 pods updated and available"),
        HEALTHY,
    ),
    "one pod too many": (
        seen(deployment(2, **AVAILABLE | {"replicas": 3})),
        ("False", "RollingOut", "3 pods, 2 wanted"),
        ("True", "RollingOut", "3 pods, 2 wanted"),
        HEALTHY,
    ),
    "a pod crashes": (
        seen(deployment(2), CRASH),
        ("False", "CrashLoopBackOff", "pod p-1: boom"),
        ("False", "CrashLoopBackOff", "pod p-1: boom"),
        HEALTHY,
    ),
    "no progress": (
        seen(deployment(2, conditions=[{"type": "Progressing", "status": "False", "message": "timed out"}])),
        ("False", "ProgressDeadlineExceeded", "timed out"),
        ("False", "ProgressDeadlineExceeded", "timed out"),
        HEALTHY,
    ),
    "suspended": (
        seen(deployment(0), suspend=True),
        ("True", "Suspended", "no pods, because spec.suspend is true"),
        ("False", "Suspended", "no pods, because spec.suspend is true"),
        HEALTHY,
    ),
    "suspended a moment ago": (
        seen(deployment(0, **AVAILABLE), suspend=True),
        ("True", "Suspended", "no pods, because spec.suspend is true"),
        ("True", "RollingOut", "2 pods, 0 wanted"),
        HEALTHY,
    ),
    "ConfigMap missing": (
        seen(None, degraded=MISSING),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("True", "ConfigMapNotFound", str(MISSING)),
    ),
    "ConfigMap missing, pods run": (
        seen(deployment(2, **AVAILABLE), degraded=MISSING),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("True", "ConfigMapNotFound", str(MISSING)),
    ),
    "quota for pods": (
        seen(failure('pods "x" is forbidden: exceeded quota: small')),
        ("False", "QuotaExceeded", 'pods "x" is forbidden: exceeded quota: small'),
        ("False", "QuotaExceeded", 'pods "x" is forbidden: exceeded quota: small'),
        ("True", "QuotaExceeded", 'pods "x" is forbidden: exceeded quota: small'),
    ),
    "pods forbidden": (
        seen(failure('pods "x" is forbidden: violates PodSecurity')),
        ("False", "Forbidden", 'pods "x" is forbidden: violates PodSecurity'),
        ("False", "Forbidden", 'pods "x" is forbidden: violates PodSecurity'),
        ("True", "Forbidden", 'pods "x" is forbidden: violates PodSecurity'),
    ),
    "pods fail otherwise": (
        seen(failure("no room")),
        ("False", "PodCreationFailed", "no room"),
        ("False", "PodCreationFailed", "no room"),
        ("True", "PodCreationFailed", "no room"),
    ),
    "invalid spec": (
        Observation(None, rollout(deployment(2, **AVAILABLE)), None, InvalidSpecError("spec.x: no")),
        ("False", "InvalidSpec", "spec.x: no"),
        ("False", "InvalidSpec", "spec.x: no"),
        ("True", "InvalidSpec", "spec.x: no"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_conditions(case: str) -> None:
    observation, ready, progressing, degraded = CASES[case]
    assert brief(observation) == {"Ready": ready, "Progressing": progressing, "Degraded": degraded}


def test_scaled_to_zero_is_ready() -> None:
    observation = Observation(worker(replicas=0), rollout(deployment(0)), None, None)
    assert brief(observation)["Ready"] == ("True", "ScaledToZero", "no pods, because spec.replicas is 0")


AUTOSCALED: Manifest = {"provider": "keda", "prometheus": {"address": "http://prometheus"}, "maxReplicas": 5}
SCALER = Aside("HorizontalPodAutoscaler", "payments")
REFUSED = Aside("PodMonitor", "payments", refused=DegradedError(Reason.FORBIDDEN, "may not"))


NO_METRICS = Aside("ScaledObject", "payments", trouble=Trouble(Reason.METRICS_UNAVAILABLE, "no Prometheus"))


@pytest.mark.parametrize(
    ("least", "aside", "expected"),
    [
        (0, SCALER, ("True", "ScaledToZero", "no pods, because the autoscaler needs none")),
        (0, NO_METRICS, ("True", "ScaledToZero", "no pods, and the autoscaler is in trouble: see AutoscalerReady")),
        (0, REFUSED, ("True", "ScaledToZero", "no pods, and the autoscaler is in trouble: see AutoscalerReady")),
        (1, SCALER, ("False", "ScaledToZero", "no pods, although autoscaling.minReplicas is 1")),
    ],
)
def test_zero_pods_of_an_autoscaler(least: int, aside: Aside, expected: tuple[str, str, str]) -> None:
    values = worker(autoscaling=AUTOSCALED | {"minReplicas": least})
    assert brief(Observation(values, rollout(deployment(0)), None, None, aside))["Ready"] == expected


READY = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3, "lastTransitionTime": "then"}]}
OLD = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2, "lastTransitionTime": "then"}]}
NO_ROOM = Trouble(Reason.UNSCHEDULABLE, "0/1 nodes")


@pytest.mark.parametrize(
    ("wanted", "counts", "trouble", "before", "expected"),
    [
        (3, {}, None, READY, ("True", "Available", "2 of 3 pods available")),
        (3, {"replicas": 3, "updatedReplicas": 3}, NO_ROOM, READY, ("True", "Available", "2 of 3 pods available")),
        (3, {"observedGeneration": 4}, None, READY, ("True", "Available", "2 of 3 pods available")),
        (1, {}, None, READY, ("True", "Available", "1 of 1 pods available")),
        (3, {"observedGeneration": 4}, None, OLD, ("False", "RollingOut", "the Deployment has been changed")),
        (3, {"replicas": 3}, None, READY, ("False", "RollingOut", "2 of 3 pods updated and available")),
        (3, {"availableReplicas": 1}, None, READY, ("False", "RollingOut", "1 of 3 pods updated and available")),
        (3, {}, CRASH, READY, ("False", "CrashLoopBackOff", "pod p-1: boom")),
    ],
    ids=["more", "no room", "a moment ago", "fewer", "edited", "rolled", "too few", "crash"],
)
def test_under_an_autoscaler_its_fewest_pods_are_enough(
    wanted: int, counts: Manifest, trouble: Trouble | None, before: Manifest, expected: tuple[str, str, str]
) -> None:
    values = worker(autoscaling=AUTOSCALED | {"minReplicas": 2})
    observation = Observation(values, rollout(deployment(wanted, **AVAILABLE | counts)), trouble, None, SCALER)
    assert brief(observation, before)["Ready"] == expected


@pytest.mark.parametrize(
    ("aside", "expected", "settled"),
    [
        (SCALER, ("True", "InPlace", "HorizontalPodAutoscaler 'payments' is in place and reports no trouble"), True),
        (NO_METRICS, ("False", "MetricsUnavailable", "no Prometheus"), True),
        (REFUSED, ("False", "Forbidden", "may not"), False),
    ],
)
def test_an_aside_has_a_condition_of_its_own(aside: Aside, expected: tuple[str, str, str], settled: bool) -> None:
    values = worker(replicas=2, autoscaling={"maxReplicas": 5})
    for observation, kind in (
        (Observation(values, rollout(deployment(2, **AVAILABLE)), None, None, autoscaler=aside), "AutoscalerReady"),
        (Observation(values, rollout(deployment(2, **AVAILABLE)), None, None, pod_monitor=aside), "PodMonitorReady"),
    ):
        told = brief(observation)
        assert told == {
            "Ready": ("True", "Available", "2 of 2 pods available"),
            "Progressing": ("False", "Available", "2 of 2 pods available"),
            "Degraded": HEALTHY,
            kind: expected,
        }
        assert observation.settled is settled


def test_the_autoscaler_is_named_with_its_bounds_once_it_is_there() -> None:
    values = worker(autoscaling={"minReplicas": 2, "maxReplicas": 5})

    def told(aside: Aside) -> Manifest | None:
        observation = Observation(values, rollout(deployment(2)), None, None, autoscaler=aside)
        return status(resource(), observation, "now").get("autoscaler")

    assert told(SCALER) == {
        "kind": "HorizontalPodAutoscaler",
        "name": "payments",
        "minReplicas": 2,
        "maxReplicas": 5,
    }
    assert told(REFUSED) is None


def test_a_scale_to_zero_that_is_not_applied_yet_is_not_ready() -> None:
    observation = Observation(worker(replicas=0), rollout(deployment(2)), None, MISSING)
    assert brief(observation)["Ready"][0] == "False"


def test_counts_selector_and_transport() -> None:
    made = status(
        resource(), seen(deployment(2, replicas=4, updatedReplicas=3, readyReplicas=2, availableReplicas=1)), "now"
    )
    counts = [made[name] for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    assert counts == [4, 3, 2, 1]
    assert (made["observedGeneration"], made["selector"], made["transport"]) == (
        3,
        "rochallor.io/worker=payments",
        "rest",
    )


def test_the_transition_time_moves_only_when_the_status_does() -> None:
    first = status(resource(), seen(deployment(2)), "10:00")
    again = status({**resource(), "status": first}, seen(deployment(2), CRASH), "10:05")
    last = status({**resource(), "status": again}, seen(deployment(2, **AVAILABLE)), "10:10")
    times = [{item["type"]: item["lastTransitionTime"] for item in made["conditions"]} for made in (first, again, last)]
    assert times[0] == {"Ready": "10:00", "Progressing": "10:00", "Degraded": "10:00"}
    assert times[1] == {"Ready": "10:00", "Progressing": "10:05", "Degraded": "10:00"}
    assert times[2] == {"Ready": "10:10", "Progressing": "10:05", "Degraded": "10:00"}


def test_the_same_sight_makes_the_same_status() -> None:
    first = status(resource(), seen(deployment(2, **AVAILABLE)), "10:00")
    assert status({**resource(), "status": first}, seen(deployment(2, **AVAILABLE)), "10:05") == first


@pytest.mark.parametrize(
    ("case", "settled"),
    [
        ("all pods available", True),
        ("suspended", True),
        ("invalid spec", True),
        ("half way", False),
        ("a pod crashes", False),
        ("ConfigMap missing, pods run", False),
    ],
)
def test_what_is_settled(case: str, settled: bool) -> None:
    assert CASES[case][0].settled is settled


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (403, 'deployments "x" is forbidden: exceeded quota: q', "QuotaExceeded"),
        (403, "User cannot patch", "Forbidden"),
        (422, "spec.template: Invalid value", "InvalidSpec"),
        (400, "quantities must match", "InvalidSpec"),
        (500, "failed to create typed patch object: .spec.x: field not declared in schema", "InvalidSpec"),
        (500, "failed to convert new object: unable to convert unstructured object to apps/v1", "InvalidSpec"),
        (409, "conflict", None),
        (500, "etcdserver: request timed out", None),
        (None, "the API server can't be reached", None),
    ],
)
def test_which_refusals_become_a_condition(code: int | None, message: str, reason: str | None) -> None:
    degraded = KubernetesError(code, message).as_degraded()
    assert (degraded.reason if degraded else None) == reason
    assert degraded is None or str(degraded) == message
