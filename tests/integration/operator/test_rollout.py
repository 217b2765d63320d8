"""Canary rollouts on a real API server, with the real controllers: only the pods and their counters are played."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cluster import programs
from integration.operator.api import Api, Object, condition, has
from integration.operator.fleet import Fleet, Version, phase
from integration.operator.process import Operator
from integration.operator.samples import NAME, container, hpa, pod_annotations, pods, resource
from rochallor_worker.cli.main import plugin
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

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
        told = [event["type"] for event in api.every("Event") if event["reason"] == "CanaryFailed"]
        assert told == ["Warning"]
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


def command(api: Api, *words: str) -> Result:
    """Run `kubectl rochallor rollout`."""
    folder = Path(programs.tool("kubectl")).parent
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "KUBECONFIG": str(api.kubeconfig)}
    return CliRunner().invoke(plugin, ["rollout", *words, NAME, f"--namespace={api.namespace}"], env=environment)


def notes(api: Api) -> Object:
    """Those of ours on the resource."""
    found: Object = api.the("RochallorWorker", NAME)["metadata"].get("annotations", {})
    return {name: value for name, value in found.items() if name.startswith("rochallor.io/")}


def test_a_person_decides(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(api, kubeconfig, monkeypatch):
        change(api, "bad:2", rollout=PLAN | {"onFailure": "Pause"})
        live = api.until_the("RochallorWorker", NAME, phase("Paused"))
        assert condition(live, "Degraded")["reason"] == "CanaryFailed"
        assert image_of(api.the("Deployment", CANARY)) == "bad:2"
        tried = live["status"]["rollout"]["revision"]
        shown = command(api, "status", "--json")
        assert (shown.exit_code, json.loads(shown.stdout)["revision"]) == (1, tried)
        assert command(api, "abort").stdout.endswith(f"the operator is asked to abort version {tried}\n")
        api.until_the("RochallorWorker", NAME, phase("Failed"))
        api.until("Deployment", CANARY, lambda live: live is None)
        assert command(api, "abort").stderr.endswith("nothing to abort: the rollout is Failed\n")
        assert command(api, "promote").exit_code == 0
        assert notes(api) == {"rochallor.io/promote": tried}
        api.until_the("RochallorWorker", NAME, phase("Stable"))
        assert image_of(api.the("Deployment", NAME)) == "bad:2"
        assert command(api, "promote").stderr.endswith("nothing to promote: the rollout is Stable\n")


def test_the_stable_pods_are_scaled_suspended_and_put_right_during_a_trial(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = PLAN | {"gate": {"minJobs": 1000000}, "steps": [{"share": "50%", "pause": "1s"}]}
    with running(api, kubeconfig, monkeypatch):
        change(api, "good:2", rollout=waits)
        live = api.until_the("RochallorWorker", NAME, has("Progressing", "True", "CanaryWaiting", "1000000 jobs"))
        assert live["status"]["rollout"]["share"] == "50% of the slots"
        assert api.the("Deployment", CANARY)["spec"]["replicas"] == 3
        api.patch("RochallorWorker", NAME, {"spec": {"replicas": 1}}, "/scale")
        api.until_the("Deployment", CANARY, lambda live: live["spec"]["replicas"] == 1)
        template = {"spec": {"containers": [{"name": "worker", "image": "other:1"}]}}
        api.patch("Deployment", NAME, {"spec": {"template": template}}, strategic=True)
        api.until_the("Deployment", NAME, lambda live: image_of(live) == "good:1")
        api.delete("Deployment", CANARY)
        api.until_the("Deployment", CANARY, lambda live: "deletionTimestamp" not in live["metadata"])
        change(api, "good:2", suspend=True)
        api.until("Deployment", CANARY, lambda live: live is None)
        live = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Suspended"))
        assert live["status"]["rollout"]["phase"] == "Progressing"
        change(api, "good:2", suspend=False, rollout=PLAN)
        api.until_the("RochallorWorker", NAME, phase("Stable"))
        assert image_of(api.the("Deployment", NAME)) == "good:2"


def test_an_autoscaler_keeps_scaling_the_stable_pods(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = PLAN | {"gate": {"minJobs": 1000000}, "steps": [{"share": "50%", "pause": "1s"}]}
    with running(api, kubeconfig, monkeypatch):
        change(api, "good:1", autoscaling=hpa(1, 5), rollout=waits)
        api.until_the("HorizontalPodAutoscaler", NAME, lambda live: live["spec"]["scaleTargetRef"]["name"] == NAME)
        change(api, "good:2")
        api.until_the("Deployment", CANARY, lambda live: live["spec"]["replicas"] == 3)
        api.patch("Deployment", NAME, {"spec": {"replicas": 4}}, "/scale")  # as an autoscaler does
        api.until_the("Deployment", CANARY, lambda live: live["spec"]["replicas"] == 4)
        change(api, "good:2", rollout=PLAN)
        api.until_the("RochallorWorker", NAME, phase("Stable"))
        assert image_of(api.the("Deployment", NAME)) == "good:2"
        assert api.the("Deployment", NAME)["spec"]["replicas"] == 4


def test_a_canary_whose_name_is_taken_waits(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(api, kubeconfig, monkeypatch):
        api.create(resource(CANARY, image="good:1"))
        api.until_the("Deployment", CANARY, lambda live: live is not None)
        change(api, "good:2")
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "NameConflict", CANARY))
        assert image_of(api.the("Deployment", NAME)) == "good:1"
        api.delete("RochallorWorker", CANARY)
        api.until_the("RochallorWorker", NAME, phase("Stable"))
        assert image_of(api.the("Deployment", NAME)) == "good:2"


def test_another_strategy_ends_the_trial(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(api, kubeconfig, monkeypatch):
        change(api, "good:2", rollout=PLAN | {"gate": {"minJobs": 1000000}})
        api.until_the("RochallorWorker", NAME, phase("Waiting"))
        change(api, "good:2", rollout={"strategy": "RollingUpdate", "steps": None, "gate": None})
        api.until("Deployment", CANARY, lambda live: live is None)
        live = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
        assert image_of(api.the("Deployment", NAME)) == "good:2"
        assert "rollout" not in live["status"]
        assert api.every("ControllerRevision") == []


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Canary"])
def test_content_that_keeps_changing_gives_few_rollouts(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """A hundred changes of a ConfigMap and of a Secret; the clock of the API server is the real one."""
    name = CANARY if strategy == "Canary" else NAME
    with running(api, kubeconfig, monkeypatch):
        api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "common"}, "data": {"N": "0"}})
        api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "private"}, "stringData": {"N": "0"}})
        sources = [{"configMapRef": {"name": "common"}}, {"secretRef": {"name": "private"}}]
        plan = (
            PLAN | {"gate": {"minJobs": 1000000}}
            if strategy == "Canary"
            else {"strategy": strategy, "steps": None, "gate": None}
        )
        change(api, "good:1", envFrom=sources, rollout=plan)
        first = api.until_the("Deployment", name, lambda live: bool(pod_annotations(live)))["metadata"]["generation"]
        for number in range(1, 51):
            api.patch("ConfigMap", "common", {"data": {"N": str(number)}})
            api.patch("Secret", "private", {"stringData": {"N": str(number)}})
        before = api.the("Deployment", name)["metadata"]["generation"]
        assert before - first <= 2
        changed = pod_annotations(api.the("Deployment", name))
        api.until_the("Deployment", name, lambda live: pod_annotations(live) != changed)
        assert api.the("Deployment", name)["metadata"]["generation"] - first <= 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("when", "first"), [("before", 1), ("after", 4)])
def test_killed_at_any_request_it_reaches_the_same_end(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, when: str, first: int
) -> None:
    """From the edit of the spec until the new version is everywhere, one rollout after the other. Every sixth request
    is enough here: on a cluster in memory, test_rollout_events.py takes any."""
    with Fleet(api, {f"good:{number}": Version() for number in range(200)}) as fleet:
        monkeypatch.setenv("REPORT_PORT", str(fleet.port))
        monkeypatch.setenv("SHORT_TIMES", json.dumps({"rollout.counters.READ_S": 1.0}))
        quick = PLAN | {"steps": [{"share": "10%", "pause": "1s"}], "gate": {"minJobs": 20}}
        api.create(resource(**spec("good:0", replicas=1, rollout=quick)))
        with Operator(kubeconfig, module="integration.operator.asking", namespaces=api.namespace):
            end(api, "good:0")
        for number in range(first, 200, 6):
            image = f"good:{number}"
            change(api, image)
            monkeypatch.setenv("KILL_AT", f"{number} {when} {api.namespace}")
            with Operator(kubeconfig, module="integration.operator.asking", namespaces=api.namespace) as mortal:
                wait_until(partial(over, api, image, mortal))
                completed = mortal.process.poll() is None
            monkeypatch.delenv("KILL_AT")
            with Operator(kubeconfig, module="integration.operator.asking", namespaces=api.namespace):
                end(api, image)
            if completed:
                assert number > 10, "fewer requests than there are writes"
                return
    pytest.fail("it never got through")


def over(api: Api, image: str, mortal: Operator) -> bool:
    """Whether the operator has been killed, or has nothing left to do."""
    return mortal.process.poll() is not None or ended(api, image)


def ended(api: Api, image: str) -> bool:
    """Whether a version is everywhere, and nothing of its trial is left."""
    live = api.the("RochallorWorker", NAME)
    return (
        phase("Stable")(live)
        and image_of(api.the("Deployment", NAME)) == image
        and condition(live, "Progressing").get("reason") == "Available"
        and [item["metadata"]["name"] for item in api.every("Deployment")] == [NAME]
        and len(api.every("ControllerRevision")) == 1
    )


def end(api: Api, image: str) -> None:
    wait_until(lambda: ended(api, image))
