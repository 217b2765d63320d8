"""KEDA as pods of the test cluster: its own manifests, with images of programs built from its Go module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from cluster import images, kind, node, programs
from cluster.progress import phase

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

NAMESPACE = "keda"
MODULE = "github.com/kedacore/keda/v2"
# KEDA's Deployment → our program for it
PROGRAMS = {"keda-operator": "keda-operator", "keda-metrics-apiserver": "keda-adapter"}


def install(kubectl: Kubectl) -> None:
    """Build what is missing (minutes, once), install it, and wait until autoscalers can query it."""
    cluster = kind if kind.works() else node
    for program in PROGRAMS.values():
        images.build_program(program, _image(program))
        cluster.load(_image(program))
    with phase("install KEDA"):
        manifests = kubectl("kustomize", str(programs.sources("keda", MODULE) / "config" / "default"))
        objects = [_ours(each) for each in yaml.safe_load_all(manifests) if "admission" not in each["metadata"]["name"]]
        kubectl.within("")("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump_all(objects))
        for deployment in PROGRAMS:
            kubectl.within(NAMESPACE)("rollout", "status", f"deployment/{deployment}", "--timeout=2m")
        kubectl("wait", "apiservice/v1beta1.external.metrics.k8s.io", "--for=condition=Available", "--timeout=2m")


def _image(program: str) -> str:
    return f"localhost/{program}:test"


def _ours(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest, a Deployment with our image; its probes start at once, since tests wait for them."""
    if manifest["kind"] == "Deployment":
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        container["image"], container["imagePullPolicy"] = _image(PROGRAMS[manifest["metadata"]["name"]]), "Never"
        del container["command"]
        container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 1}
    return manifest
