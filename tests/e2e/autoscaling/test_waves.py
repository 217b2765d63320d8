"""Pods follow the load up and down, and no job is lost; both providers at the same time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from cluster import monitoring
from e2e.autoscaling.conftest import MOST
from e2e.autoscaling.dashboard import until_it_shows
from e2e.autoscaling.engine import runs
from e2e.autoscaling.replicas import stay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.kubectl import Kubectl
    from e2e.autoscaling.conftest import Wave

# Instances a second, each with a job of 2 s; a pod runs 4 jobs at a time and should be busy to 70 %.
HEAVY, LIGHT = 6.0, 0.5  # the work of 4.3 and of 0.4 pods
UP_S = 60.0
"""The promise: more pods within this time after the load. The timeline shows the real times."""
# Bounds for a busy machine.
MOST_S = 300.0
DOWN_S = 420.0
DONE_S = 180.0
SAID_S = 90
# For this long nothing may change.
OUTAGE_S = 120.0
SUSPENDED_S = 120.0

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(autouse=True)
def timeline(waves: list[Wave], capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Print what the autoscalers did."""
    yield
    with capsys.disabled():
        for wave in waves:
            print(f"\n{wave.name}: {wave.replicas}", end="")


def raise_load(waves: list[Wave]) -> None:
    """Start heavy load, and wait for the maximum number of pods."""
    began = time.monotonic()
    for wave in waves:
        wave.load.set_rate(HEAVY)
    for wave in waves:
        wave.replicas.until(lambda pods: pods > 1, began + UP_S - time.monotonic())
    for wave in waves:
        wave.replicas.until(lambda pods: pods == MOST, MOST_S)


def test_pods_follow_the_load_and_every_job_runs_once(waves: list[Wave], engine: str, kubectl: Kubectl) -> None:
    raise_load(waves)
    for wave in waves:
        until_it_shows(kubectl, wave.name)
        wave.load.set_rate(LIGHT)
    for wave in waves:
        wave.replicas.until(lambda pods: pods == 1, DOWN_S)
    for wave in waves:
        wave.load.set_rate(0)
        wave.load.until_completed(DONE_S)
    counted = runs(engine)
    assert counted.total() == len(counted) == sum(wave.load.started for wave in waves)


def test_pods_stay_while_prometheus_is_away(waves: list[Wave], kubectl: Kubectl) -> None:
    raise_load(waves)
    prometheus = kubectl.within(monitoring.NAMESPACE)
    prometheus("scale", "deployment/prometheus", "--replicas=0")
    try:
        prometheus("wait", "pods", "--selector=app=prometheus", "--for=delete", f"--timeout={SAID_S}s")
        for wave in waves:
            wave.load.set_rate(0)
            wave.load.until_completed(DONE_S)  # without load, only the missing metrics keep the pods
        stay((wave.replicas for wave in waves), OUTAGE_S)
        for wave in waves:
            kubectl("wait", f"rw/{wave.name}", "--for=condition=AutoscalerReady=False", f"--timeout={SAID_S}s")
            kubectl("wait", f"rw/{wave.name}", "--for=condition=Ready", f"--timeout={SAID_S}s")
    finally:
        prometheus("scale", "deployment/prometheus", "--replicas=1")
    for wave in waves:
        wave.replicas.until(lambda pods: pods == 1, DOWN_S)


def test_a_suspended_worker_is_left_alone(waves: list[Wave], kubectl: Kubectl) -> None:
    raise_load(waves)  # to the maximum: no change is pending
    before = [len(wave.replicas.changes) for wave in waves]
    for wave in waves:
        kubectl("patch", f"rw/{wave.name}", "--type=merge", '--patch={"spec": {"suspend": true}}')
        wave.replicas.until(lambda pods: pods == 0, SAID_S)
        wave.load.set_rate(0)  # the backlog is still work for pods
    stay((wave.replicas for wave in waves), SUSPENDED_S)
    for wave, since in zip(waves, before, strict=True):
        assert [pods for _, pods in wave.replicas.changes[since:]] == [0]
    for wave in waves:
        kubectl("patch", f"rw/{wave.name}", "--type=merge", '--patch={"spec": {"suspend": false}}')
    for wave in waves:
        wave.load.until_completed(MOST_S)
