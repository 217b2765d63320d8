"""`kubectl rochallor rollout`: what it shows of a canary rollout, and the annotations by which it decides."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rochallor_worker.cli import output
from rochallor_worker.cli.main import plugin
from unit.worker.why.fake_kubectl import Cluster

WAITING = {
    "phase": "Waiting",
    "revision": "v2",
    "stableRevision": "v1",
    "step": 1,
    "steps": 2,
    "share": "25% of the slots",
    "message": "9 of 100 jobs",
    "canary": {"jobs": 9, "failures": 1},
    "stable": {"jobs": 40, "failures": 0, "slow": 2},
    "since": "2026-11-30T03:00:00Z",
}


def resource(rollout: dict[str, Any] | None, strategy: str = "Canary", observed: int = 3) -> dict[str, Any]:
    return {
        "metadata": {"name": "pay", "namespace": "shop", "generation": 3},
        "spec": {"rollout": {"strategy": strategy}},
        "status": {"observedGeneration": observed, "rollout": rollout},
    }


def run(cluster: Cluster, *words: str) -> Result:
    cluster.install()
    return CliRunner().invoke(plugin, ["rollout", *words])


def rows(shown: str) -> dict[str, str]:
    """The table, by its first column."""
    lines = [line.strip("│").split("│") for line in shown.splitlines() if "│" in line]
    return {name.strip(): value.strip() for name, value in lines}


def test_status_shows_where_a_trial_stands(cluster: Cluster) -> None:
    cluster.workers = resource(WAITING)
    result = run(cluster, "status", "pay", "--namespace", "shop", "--context", "prod")
    assert result.exit_code == 0
    assert rows(result.stdout) == {
        "phase": "Waiting",
        "version": "v2",
        "stable version": "v1",
        "step": "1 of 2",
        "share": "25% of the slots",
        "new pods": "9 jobs in this step, 1 failed",
        "stable pods": "40 jobs in this step, 0 failed, 2 slow",
        "message": "9 of 100 jobs",
    }
    assert cluster.calls == [
        "--context=prod get rochallorworkers.rochallor.io/pay --namespace=shop --output=json",
    ]


@pytest.mark.parametrize(("phase", "status"), [("Stable", 0), ("Failed", 1), ("Paused", 1)])
def test_a_watch_ends_with_the_trial(cluster: Cluster, phase: str, status: int) -> None:
    cluster.workers = resource(WAITING | {"phase": phase})
    result = run(cluster, "status", "pay", "--watch", "--json")
    assert (result.exit_code, json.loads(result.stdout)["phase"]) == (status, phase)
    assert cluster.calls == ["get rochallorworkers.rochallor.io/pay --output=json"]


def test_a_watch_goes_on_until_the_operator_has_seen_the_last_change(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WATCH_SECONDS", 0)
    cluster.workers = resource(WAITING | {"phase": "Failed"}, observed=2)
    cluster.then = resource({"phase": "Stable", "revision": "v2", "stableRevision": "v2"})
    result = run(cluster, "status", "pay", "--watch")
    assert result.exit_code == 0
    assert "Failed, before the last change of the resource" in result.stdout
    assert rows(result.stdout.splitlines()[-2]) | {"phase": "Stable"} == {"version": "v2", "phase": "Stable"}


@pytest.mark.parametrize(
    ("verb", "phase", "annotations"),
    [
        ("promote", "Waiting", "rochallor.io/promote=v2 rochallor.io/abort-"),
        ("promote", "Failed", "rochallor.io/promote=v2 rochallor.io/abort-"),
        ("abort", "Paused", "rochallor.io/abort=v2 rochallor.io/promote-"),
    ],
)
def test_a_decision_names_the_version(cluster: Cluster, verb: str, phase: str, annotations: str) -> None:
    cluster.workers = resource(WAITING | {"phase": phase})
    result = run(cluster, verb, "pay", "-n", "shop")
    assert (result.exit_code, result.stdout) == (0, f"shop/pay: the operator is asked to {verb} version v2\n")
    assert cluster.calls[1:] == [
        f"annotate --overwrite --namespace=shop rochallorworkers.rochallor.io/pay {annotations}"
    ]


@pytest.mark.parametrize(
    ("verb", "found", "said"),
    [
        ("status", resource(None, "RollingUpdate"), "no canary rollouts: spec.rollout.strategy is RollingUpdate"),
        ("promote", resource(None, "RollingUpdate"), "no canary rollouts: spec.rollout.strategy is RollingUpdate"),
        ("status", resource(None), "the operator has not written a rollout to its status yet: is it running?"),
        ("promote", resource(WAITING | {"phase": "Stable"}), "nothing to promote: the rollout is Stable"),
        ("promote", resource(WAITING | {"phase": "Promoting"}), "nothing to promote: the rollout is Promoting"),
        ("abort", resource(WAITING | {"phase": "Failed"}), "nothing to abort: the rollout is Failed"),
        ("abort", resource(WAITING, observed=2), "the operator has not seen its last change yet: is it running?"),
    ],
)
def test_what_is_not_possible_is_refused_in_one_line(
    cluster: Cluster, verb: str, found: dict[str, Any], said: str
) -> None:
    cluster.workers = found
    result = run(cluster, verb, "pay")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"shop/pay: {said}\n")
    assert len(cluster.calls) == 1


@pytest.mark.parametrize("words", [("promote",), ("status", "--watch")])
def test_a_resource_that_does_not_exist_is_named(cluster: Cluster, tmp_path: Path, words: tuple[str, ...]) -> None:
    said = 'Error from server (NotFound): rochallorworkers.rochallor.io "pay" not found'
    (tmp_path / "refusal").write_text(said)
    result = run(cluster, *words, "pay")
    assert (result.exit_code, result.stderr) == (1, f"kubectl get rochallorworkers.rochallor.io/pay: {said}\n")
