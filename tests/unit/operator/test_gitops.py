"""What Argo CD says of a worker, for every kind of status that the operator writes."""

from __future__ import annotations

import pytest

from argocd import health
from rochallor_operator.errors import DegradedError
from rochallor_operator.observe import Trouble, rollout
from rochallor_operator.reasons import Reason
from rochallor_operator.status import Aside, Observation, status
from unit.operator.samples import deployment, resource, worker
from unit.operator.test_status import AVAILABLE, CASES, seen

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
    "ConfigMap missing, pods run": NOT_FOUND,
    "quota for pods": ("Degraded", 'QuotaExceeded: pods "x" is forbidden: exceeded quota: small'),
    "pods forbidden": ("Degraded", 'Forbidden: pods "x" is forbidden: violates PodSecurity'),
    "pods fail otherwise": ("Degraded", "PodCreationFailed: no room"),
    "invalid spec": ("Degraded", "InvalidSpec: spec.x: no"),
}


def told(observation: Observation) -> tuple[str, str]:
    return health({**resource(), "status": status(resource(), observation, "now")})


def test_every_case_is_judged() -> None:
    assert HEALTH.keys() == CASES.keys()


@pytest.mark.parametrize("case", HEALTH)
def test_health(case: str) -> None:
    assert told(CASES[case][0]) == HEALTH[case]


def test_no_pods_on_purpose_are_healthy() -> None:
    observation = Observation(worker(replicas=0), rollout(deployment(0)), None, None)
    assert told(observation) == ("Healthy", "ScaledToZero: no pods, because spec.replicas is 0")


def test_what_the_workers_report_is_degraded() -> None:
    away = DegradedError(Reason.ENGINE_UNREACHABLE, "cannot connect")
    assert told(seen(deployment(2), degraded=away)) == ("Degraded", "EngineUnreachable: cannot connect")


def test_trouble_with_an_autoscaler_changes_nothing() -> None:
    trouble = Aside("ScaledObject", "payments", trouble=Trouble(Reason.METRICS_UNAVAILABLE, "no Prometheus"))
    values = worker(replicas=2, autoscaling={"maxReplicas": 5})
    observation = Observation(values, rollout(deployment(2, **AVAILABLE)), None, None, autoscaler=trouble)
    assert told(observation)[0] == "Healthy"


@pytest.mark.parametrize("earlier", [{}, {"status": {"observedGeneration": 2, "conditions": []}}], ids=["new", "old"])
def test_what_the_operator_has_not_seen_is_progressing(earlier: dict[str, object]) -> None:
    assert resource()["metadata"]["generation"] == 3
    assert health({**resource(), **earlier})[0] == "Progressing"
