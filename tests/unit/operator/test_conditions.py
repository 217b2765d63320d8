from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rochallor_operator.errors import DegradedError, InvalidSpecError, KubernetesError
from rochallor_operator.observe import Addon, Observation, Problem, rollout
from rochallor_operator.rollout.state import Phase, State
from rochallor_operator.status.conditions import status
from rochallor_operator.status.reasons import Reason
from unit.operator.samples import deployment, resource, worker

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

AVAILABLE = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
CRASH = Problem("CrashLoopBackOff", "pod p-1: boom")
MISSING = DegradedError(Reason.CONFIG_MAP_NOT_FOUND, "ConfigMap 'x' with the handlers does not exist")


def seen(
    live: Manifest | None, problem: Problem | None = None, degraded: DegradedError | None = None, **spec: object
) -> Observation:
    values = worker(replicas=2, **spec)
    return Observation(values, None if live is None else rollout(live), problem, degraded)


def brief(observation: Observation, before: Manifest | None = None) -> dict[str, tuple[str, str, str]]:
    """The conditions without those for kstatus, which follow from Ready and Progressing."""
    result = status(resource() | {"status": before or {}}, observation, "now")
    states = {item["type"]: (item["status"], item["reason"], item["message"]) for item in result["conditions"]}
    more = {kind: states.pop(kind) for kind in ("Reconciling", "Stalled") if kind in states}
    kind = "Reconciling" if states["Progressing"][0] == "True" else "Stalled"
    assert more == ({} if states["Ready"][0] == "True" else {kind: ("True", *states["Ready"][1:])})
    return states


def failure(message: str) -> Manifest:
    return deployment(2, conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}])


def paused(live: Manifest) -> Manifest:
    live["spec"]["paused"] = True
    return live


NO_BUDGET = DegradedError(Reason.QUOTA_EXCEEDED, "exceeded quota: no budgets")
RESUME = "the Deployment's rollout is paused: `kubectl rollout resume deployment/payments` resumes it"

# The observation; then status, reason and message of Ready, of Progressing and of Degraded.
HEALTHY = ("False", "Healthy", "no problem")
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
        replace(seen(None), blocked=MISSING),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("True", "ConfigMapNotFound", str(MISSING)),
    ),
    "ConfigMap missing, pods run": (
        seen(deployment(2, **AVAILABLE), degraded=MISSING),
        ("True", "Available", "2 of 2 pods available"),
        ("False", "Available", "2 of 2 pods available"),
        ("True", "ConfigMapNotFound", str(MISSING)),
    ),
    "ConfigMap missing, new pods wait for it": (
        seen(deployment(2, replicas=3), Problem(MISSING.reason, str(MISSING)), MISSING),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("False", "ConfigMapNotFound", str(MISSING)),
        ("True", "ConfigMapNotFound", str(MISSING)),
    ),
    "budget refused, all pods available": (
        seen(deployment(2, **AVAILABLE), degraded=NO_BUDGET),
        ("True", "Available", "2 of 2 pods available"),
        ("False", "Available", "2 of 2 pods available"),
        ("True", "QuotaExceeded", str(NO_BUDGET)),
    ),
    "budget refused, pods are replaced": (
        seen(deployment(2, replicas=3), degraded=NO_BUDGET),
        ("False", "RollingOut", "0 of 2 pods updated and available"),
        ("True", "RollingOut", "0 of 2 pods updated and available"),
        ("True", "QuotaExceeded", str(NO_BUDGET)),
    ),
    "Deployment refused, the last one's pods available": (
        replace(seen(deployment(2, **AVAILABLE)), blocked=NO_BUDGET),
        ("False", "QuotaExceeded", str(NO_BUDGET)),
        ("False", "QuotaExceeded", str(NO_BUDGET)),
        ("True", "QuotaExceeded", str(NO_BUDGET)),
    ),
    "all pods available, one has just restarted": (
        seen(deployment(2, **AVAILABLE), CRASH),
        ("False", "CrashLoopBackOff", "pod p-1: boom"),
        ("False", "CrashLoopBackOff", "pod p-1: boom"),
        HEALTHY,
    ),
    "paused half way": (
        seen(paused(deployment(2, **AVAILABLE | {"updatedReplicas": 0}))),
        ("False", "Paused", RESUME),
        ("False", "Paused", RESUME),
        HEALTHY,
    ),
    "paused when done": (
        seen(paused(deployment(2, **AVAILABLE))),
        ("True", "Available", "2 of 2 pods available"),
        ("False", "Available", "2 of 2 pods available"),
        HEALTHY,
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
        Observation(None, rollout(deployment(2, **AVAILABLE)), None, None, blocked=InvalidSpecError("spec.x: no")),
        ("False", "InvalidSpec", "spec.x: no"),
        ("False", "InvalidSpec", "spec.x: no"),
        ("True", "InvalidSpec", "spec.x: no"),
    ),
}

TRIED: Manifest = {"rollout": {"strategy": "Canary"}}
STATE = State(Phase.PROGRESSING, "old", "new", share="9% of the slots")
ON_TRIAL = "version new is on trial with 9% of the slots, step 1 of 2"
FAILED = "version new: 12 of 50 jobs failed; only the stable pods run"
LOOK = "version new: 12 of 50 jobs failed; the canary is left for you to look at"
FINE = ("True", "Available", "2 of 2 pods available")
TRIALS = {
    "on trial": (STATE, ("True", "Canary", ON_TRIAL), HEALTHY, "Reconciling"),
    "does not start": (
        replace(STATE, message="pod x: image 'y' can't be pulled"),
        ("True", "Canary", f"{ON_TRIAL}; pod x: image 'y' can't be pulled"),
        HEALTHY,
        "Reconciling",
    ),
    "waits": (
        replace(STATE, phase=Phase.WAITING, message="12 of at least 50 jobs"),
        ("True", "CanaryWaiting", f"{ON_TRIAL}; it waits: 12 of at least 50 jobs"),
        HEALTHY,
        "Reconciling",
    ),
    "promoted a moment ago": (
        replace(STATE, phase=Phase.PROMOTING, stable="new"),
        ("True", "Canary", "version new has passed: the stable pods get it"),
        HEALTHY,
        "Reconciling",
    ),
    "failed": (
        replace(STATE, phase=Phase.FAILED, message="12 of 50 jobs failed"),
        ("False", "CanaryFailed", FAILED),
        ("True", "CanaryFailed", FAILED),
        "Stalled",
    ),
    "paused": (
        replace(STATE, phase=Phase.PAUSED, message="12 of 50 jobs failed"),
        ("False", "CanaryFailed", LOOK),
        ("True", "CanaryFailed", LOOK),
        "Stalled",
    ),
    "at rest": (State(Phase.STABLE, "old", "old"), ("False", *FINE[1:]), HEALTHY, None),
}


@pytest.mark.parametrize("case", TRIALS)
def test_a_canary_rollout_leaves_the_resource_ready(case: str) -> None:
    state, progressing, degraded, kind = TRIALS[case]
    observation = replace(seen(deployment(2, **AVAILABLE), **TRIED), state=state)
    made = status(resource(), observation, "now")
    states = {item["type"]: (item["status"], item["reason"], item["message"]) for item in made["conditions"]}
    expected = {"Ready": FINE, "Progressing": progressing, "Degraded": degraded}
    assert states == expected | ({} if kind is None else {kind: ("True", *progressing[1:])})
    assert made["rollout"]["phase"] == state.phase
    assert observation.settled is (kind != "Reconciling")


def test_stable_pods_that_are_not_at_rest_matter_more_than_a_trial() -> None:
    scaled = replace(seen(deployment(2, **AVAILABLE | {"replicas": 3}), **TRIED), state=STATE)
    assert brief(scaled)["Progressing"] == ("True", "RollingOut", "3 pods, 2 wanted")


def test_an_invalid_spec_keeps_the_state_of_the_rollout() -> None:
    observation = replace(CASES["invalid spec"][0], state=STATE)
    assert status(resource(), observation, "now")["rollout"]["stableRevision"] == "old"


@pytest.mark.parametrize("case", CASES)
def test_conditions(case: str) -> None:
    observation, ready, progressing, degraded = CASES[case]
    assert brief(observation) == {"Ready": ready, "Progressing": progressing, "Degraded": degraded}


WARNING = Problem(Reason.LEASE_NOT_RENEWABLE, "pod p-1: leases can't be renewed")


@pytest.mark.parametrize("case", CASES)
def test_a_warning_makes_a_resource_degraded_and_changes_nothing_else(case: str) -> None:
    observation, ready, progressing, degraded = CASES[case]
    expected = ("True", "LeaseNotRenewable", WARNING.message) if degraded == HEALTHY else degraded
    warned = replace(observation, warning=WARNING)
    assert brief(warned) == {"Ready": ready, "Progressing": progressing, "Degraded": expected}
    assert (warned.settled, warned.refused) == (observation.settled, observation.refused)


def test_the_reason_of_an_unready_worker_comes_before_a_warning() -> None:
    report = DegradedError(Reason.ENGINE_UNREACHABLE, "pod p-2: no answer")
    observation = replace(seen(deployment(2), Problem(report.reason, str(report)), report), warning=WARNING)
    assert brief(observation)["Degraded"] == ("True", "EngineUnreachable", "pod p-2: no answer")
    assert not observation.refused


def test_scaled_to_zero_is_ready() -> None:
    observation = Observation(worker(replicas=0), rollout(deployment(0)), None, None)
    assert brief(observation)["Ready"] == ("True", "ScaledToZero", "no pods, because spec.replicas is 0")


AUTOSCALED: Manifest = {"provider": "keda", "prometheus": {"address": "http://prometheus"}, "maxReplicas": 5}
SCALER = Addon("HorizontalPodAutoscaler", "payments")
REFUSED = Addon("PodMonitor", "payments", refused=DegradedError(Reason.FORBIDDEN, "may not"))


NO_METRICS = Addon("ScaledObject", "payments", problem=Problem(Reason.METRICS_UNAVAILABLE, "no Prometheus"))


@pytest.mark.parametrize(
    ("least", "addon", "expected"),
    [
        (0, SCALER, ("True", "ScaledToZero", "no pods, because the autoscaler needs none")),
        (0, NO_METRICS, ("True", "ScaledToZero", "no pods, and the autoscaler has a problem: see AutoscalerReady")),
        (0, REFUSED, ("True", "ScaledToZero", "no pods, and the autoscaler has a problem: see AutoscalerReady")),
        (1, SCALER, ("False", "ScaledToZero", "no pods, although autoscaling.minReplicas is 1")),
    ],
)
def test_zero_pods_of_an_autoscaler(least: int, addon: Addon, expected: tuple[str, str, str]) -> None:
    values = worker(autoscaling=AUTOSCALED | {"minReplicas": least})
    assert brief(Observation(values, rollout(deployment(0)), None, None, addon))["Ready"] == expected


READY = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3, "lastTransitionTime": "then"}]}
OLD = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2, "lastTransitionTime": "then"}]}
UNREADY = Problem(Reason.PODS_NOT_READY, "pod p-3: its node does not report")
QUOTA = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}]}
NO_ROOM = Problem(Reason.UNSCHEDULABLE, "0/1 nodes")


@pytest.mark.parametrize(
    ("wanted", "counts", "problem", "before", "expected"),
    [
        (3, {}, None, READY, ("True", "Available", "2 of 3 pods available")),
        (3, {"replicas": 3, "updatedReplicas": 3}, NO_ROOM, READY, ("True", "Available", "2 of 3 pods available")),
        (3, {"observedGeneration": 4}, None, READY, ("True", "Available", "2 of 3 pods available")),
        (1, {}, None, READY, ("True", "Available", "1 of 1 pods available")),
        (3, {"observedGeneration": 4}, None, OLD, ("False", "RollingOut", "the Deployment has been changed")),
        (3, {"replicas": 3}, None, READY, ("False", "RollingOut", "2 of 3 pods updated and available")),
        (3, {"availableReplicas": 1}, None, READY, ("False", "RollingOut", "1 of 3 pods updated and available")),
        (3, {}, CRASH, READY, ("False", "CrashLoopBackOff", "pod p-1: boom")),
        (3, {"replicas": 3, "updatedReplicas": 3}, UNREADY, READY, ("True", "Available", "2 of 3 pods available")),
        (3, QUOTA, None, READY, ("True", "Available", "2 of 3 pods available")),
    ],
    ids=["more", "no room", "a moment ago", "fewer", "edited", "rolled", "too few", "crash", "unready", "quota"],
)
def test_under_an_autoscaler_its_minimum_of_pods_is_enough(
    wanted: int, counts: Manifest, problem: Problem | None, before: Manifest, expected: tuple[str, str, str]
) -> None:
    values = worker(autoscaling=AUTOSCALED | {"minReplicas": 2})
    observation = Observation(values, rollout(deployment(wanted, **AVAILABLE | counts)), problem, None, SCALER)
    assert brief(observation, before)["Ready"] == expected


@pytest.mark.parametrize(
    ("addon", "expected", "settled"),
    [
        (SCALER, ("True", "InPlace", "HorizontalPodAutoscaler 'payments' is in place and reports no problem"), True),
        (NO_METRICS, ("False", "MetricsUnavailable", "no Prometheus"), True),
        (REFUSED, ("False", "Forbidden", "may not"), False),
    ],
)
def test_an_addon_has_a_condition_of_its_own(addon: Addon, expected: tuple[str, str, str], settled: bool) -> None:
    values = worker(replicas=2, autoscaling={"maxReplicas": 5})
    for observation, kind in (
        (Observation(values, rollout(deployment(2, **AVAILABLE)), None, None, autoscaler=addon), "AutoscalerReady"),
        (Observation(values, rollout(deployment(2, **AVAILABLE)), None, None, pod_monitor=addon), "PodMonitorReady"),
    ):
        states = brief(observation)
        assert states == {
            "Ready": ("True", "Available", "2 of 2 pods available"),
            "Progressing": ("False", "Available", "2 of 2 pods available"),
            "Degraded": HEALTHY,
            kind: expected,
        }
        assert observation.settled is settled


def test_the_autoscaler_is_named_with_the_bounds_that_are_in_force() -> None:
    values = worker(autoscaling={"minReplicas": 2, "maxReplicas": 5})

    def shown(addon: Addon) -> Manifest | None:
        observation = Observation(values, rollout(deployment(2)), None, None, autoscaler=addon)
        return status(resource(), observation, "now").get("autoscaler")

    there = {"kind": "HorizontalPodAutoscaler", "name": "payments", "minReplicas": 1, "maxReplicas": 3}
    assert shown(replace(SCALER, bounds=(1, 3))) == there
    assert shown(replace(SCALER, bounds=(1, 3), refused=REFUSED.refused)) == there, "the old one stays in force"
    assert shown(replace(SCALER, refused=REFUSED.refused)) is None


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
    assert times[0] == {"Ready": "10:00", "Progressing": "10:00", "Degraded": "10:00", "Reconciling": "10:00"}
    assert times[1] == {"Ready": "10:00", "Progressing": "10:05", "Degraded": "10:00", "Stalled": "10:05"}
    assert times[2] == {"Ready": "10:10", "Progressing": "10:05", "Degraded": "10:00"}


def test_the_same_observation_makes_the_same_status() -> None:
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


def kstatus(made: Manifest) -> str:
    """The status that kstatus, which Flux and Helm use, gives to a resource of an unknown kind."""
    states = {item["type"]: item["status"] for item in made["conditions"]}
    if states.get("Reconciling") == "True":
        return "InProgress"
    if states.get("Stalled") == "True":
        return "Failed"
    return "Current" if states["Ready"] == "True" else "InProgress"


KSTATUS = {"half way": "InProgress", "a pod crashes": "Failed", "no progress": "Failed", "invalid spec": "Failed"} | {
    "ConfigMap missing": "Failed",
    "ConfigMap missing, pods run": "Current",
    "budget refused, all pods available": "Current",
    "suspended a moment ago": "Current",
    "no Deployment yet": "InProgress",
}


@pytest.mark.parametrize("case", KSTATUS)
def test_programs_that_wait_learn_what_is_in_progress_and_what_is_stuck(case: str) -> None:
    assert kstatus(status(resource(), CASES[case][0], "now")) == KSTATUS[case]
