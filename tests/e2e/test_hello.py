"""The hello example, from `kubectl apply` to finished instances, and changes to a running worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

PODS = ("pods", "--selector=rochallor.io/worker=hello")
PARALLELISM = '{.spec.template.spec.containers[0].env[?(@.name=="ROCHALLOR_PARALLELISM")].value}'


def run_demo(kubectl: Kubectl, instances: int) -> None:
    """Run the load driver, which exits with 0 only if every instance has the expected final state."""
    command = [str(Path(sys.executable).with_name("rochallor-worker")), "demo", f"--instances={instances}"]
    with kubectl.port_forward("service/dev-engine", 8080) as url:
        done = subprocess.run([*command, f"--engine-url={url}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{instances}/{instances}" in done.stdout


def pod_names(kubectl: Kubectl) -> set[str]:
    return {pod["metadata"]["name"] for pod in kubectl.json("get", *PODS)["items"]}


def until_rolled(kubectl: Kubectl, before: set[str], parallelism: int) -> None:
    """Wait until a change of the parallelism has reached the pods, and the old ones no longer exist."""
    kubectl("wait", "deployment/hello", f"--for=jsonpath={PARALLELISM}={parallelism}", "--timeout=180s")
    kubectl("rollout", "status", "deployment/hello", "--timeout=180s")
    kubectl("wait", *(f"pod/{name}" for name in before), "--for=delete", "--timeout=180s")
    assert pod_names(kubectl)


def test_300_instances_end_in_their_right_state(hello: Kubectl) -> None:
    run_demo(hello, 300)


def test_a_new_parallelism_rolls_the_pods(hello: Kubectl) -> None:
    before = pod_names(hello)
    hello("patch", "rw/hello", "--type=merge", '--patch={"spec": {"parallelism": 7}}')
    until_rolled(hello, before, 7)
    run_demo(hello, 10)


def test_a_deleted_deployment_comes_back(hello: Kubectl) -> None:
    hello("delete", "deployment/hello")
    hello("wait", "deployment/hello", "--for=create", "--timeout=180s")
    hello("rollout", "status", "deployment/hello", "--timeout=180s")
    run_demo(hello, 10)


def test_scaling_the_resource_scales_its_pods(hello: Kubectl) -> None:
    hello("scale", "rw/hello", "--replicas=3")
    hello("wait", "rw/hello", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=180s")
    hello("wait", *PODS, "--for=condition=Ready", "--timeout=180s")
    assert len(pod_names(hello)) == 3


def test_deleting_the_resource_removes_what_it_made(hello: Kubectl) -> None:
    hello("delete", "rw/hello")
    for gone in (("deployment/hello",), ("service/hello-metrics",), PODS):
        hello("wait", *gone, "--for=delete", "--timeout=180s")
    left = hello("get", "all,configmaps", "--output=name")
    assert "hello" not in left.replace("configmap/hello-handlers", "")
