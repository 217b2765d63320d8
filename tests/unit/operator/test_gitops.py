"""The health that Argo CD reports for every kind of status that the operator writes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argocd import health
from rochallor_operator.errors import DegradedError
from rochallor_operator.observe import Addon, Observation, Problem, rollout
from rochallor_operator.status.conditions import status
from rochallor_operator.status.reasons import Reason
from unit.operator.samples import deployment, resource, worker
from unit.operator.test_conditions import AVAILABLE, CASES, RESUME, TRIALS, TRIED, seen

CRASHED = "Degraded", "CrashLoopBackOff: pod p-1: boom"
NOT_FOUND = "Degraded", "ConfigMapNotFound: ConfigMap 'x' with the handlers does not exist"
HEALTH = {
    "all pods available": ("Healthy", "Available: 2 of 2 pods available"),
    "no Deployment yet": ("Progressing", "RollingOut: the Deployment is being created"),
    "changed a moment ago": ("Progressing", "RollingOut: the Deployment has been changed"),
    "half way": ("Progressing", "RollingOut: 1 of 2 pods updated and available"),
    "one pod too many": ("Progressing", "RollingOut: 3 pods, 2 wanted"),
    "a pod crashes": CRASHED,
    "no progress": ("Degraded", "ProgressDeadlineExceeded: timed out"),
    "suspended": ("Suspended", "Suspended: no pods, because spec.suspend is true"),
    "suspended a moment ago": ("Suspended", "Suspended: no pods, because spec.suspend is true"),
    "ConfigMap missing": NOT_FOUND,
    "ConfigMap missing, pods run": ("Healthy", "Available: 2 of 2 pods available"),
    "ConfigMap missing, new pods wait for it": NOT_FOUND,
    "budget refused, all pods available": ("Healthy", "Available: 2 of 2 pods available"),
    "budget refused, pods are replaced": ("Progressing", "RollingOut: 0 of 2 pods updated and available"),
    "Deployment refused, the last one's pods available": ("Degraded", "QuotaExceeded: exceeded quota: no budgets"),
    "all pods available, one has just restarted": CRASHED,
    "paused half way": ("Degraded", f"Paused: {RESUME}"),
    "paused when done": ("Healthy", "Available: 2 of 2 pods available"),
    "quota for pods": ("Degraded", 'QuotaExceeded: pods "x" is forbidden: exceeded quota: small'),
    "pods forbidden": ("Degraded", 'Forbidden: pods "x" is forbidden: violates PodSecurity'),
    "pods fail otherwise": ("Degraded", "PodCreationFailed: no room"),
    "invalid spec": ("Degraded", "InvalidSpec: spec.x: no"),
}


def argo_health(observation: Observation) -> tuple[str, str]:
    return health({**resource(), "status": status(resource(), observation, "now")})


def test_every_case_has_a_health() -> None:
    assert HEALTH.keys() == CASES.keys()


@pytest.mark.parametrize("case", HEALTH)
def test_health(case: str) -> None:
    assert argo_health(CASES[case][0]) == HEALTH[case]


@pytest.mark.parametrize(
    ("case", "expected"),
    [("on trial", "Progressing"), ("waits", "Progressing"), ("failed", "Degraded"), ("at rest", "Healthy")],
)
def test_a_canary_rollout(case: str, expected: str) -> None:
    state, progressing, *_ = TRIALS[case]
    observation = replace(seen(deployment(2, **AVAILABLE), **TRIED), state=state)
    assert argo_health(observation) == (expected, ": ".join(progressing[1:]))


def test_no_pods_on_purpose_are_healthy() -> None:
    observation = Observation(worker(replicas=0), rollout(deployment(0)), None, None)
    assert argo_health(observation) == ("Healthy", "ScaledToZero: no pods, because spec.replicas is 0")


def test_a_problem_reported_by_workers_is_degraded() -> None:
    away = DegradedError(Reason.ENGINE_UNREACHABLE, "cannot connect")
    assert argo_health(seen(deployment(2), Problem(away.reason, str(away)), away)) == (
        "Degraded",
        "EngineUnreachable: cannot connect",
    )


def test_a_problem_with_an_autoscaler_changes_nothing() -> None:
    problem = Addon("ScaledObject", "payments", problem=Problem(Reason.METRICS_UNAVAILABLE, "no Prometheus"))
    values = worker(replicas=2, autoscaling={"maxReplicas": 5})
    observation = Observation(values, rollout(deployment(2, **AVAILABLE)), None, None, autoscaler=problem)
    assert argo_health(observation)[0] == "Healthy"


@pytest.mark.parametrize("earlier", [{}, {"status": {"observedGeneration": 2, "conditions": []}}], ids=["new", "old"])
def test_a_resource_that_the_operator_has_not_seen_is_progressing(earlier: dict[str, object]) -> None:
    assert resource()["metadata"]["generation"] == 3
    assert health({**resource(), **earlier})[0] == "Progressing"
