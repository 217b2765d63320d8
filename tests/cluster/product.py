"""Our product on a test cluster: images from this checkout, the operator by its chart."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from cluster import images, kind, node
from cluster.progress import phase

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

RELEASE = "rochallor-operator"
NAMESPACE = "rochallor-system"
CHART = images.ROOT / "charts" / "rochallor-operator"
HELLO = images.ROOT / "examples" / "hello"


def load_images(kubectl: Kubectl) -> None:
    """Build both images and give them to the cluster; Deployments that run an older build are restarted."""
    cluster = kind if kind.works() else node
    for target in ("worker", "operator"):
        name = f"rochallor/rochallor-{target}:{version('rochallor-' + target)}"
        images.build(target, name)
        if cluster.load(name):
            _restart(kubectl, name)


def install_operator(kubectl: Kubectl) -> None:
    """Install the chart, or upgrade it, and wait until the operator is ready."""
    with phase("install the operator (helm)"):
        where = ("--namespace", NAMESPACE, "--create-namespace")
        kubectl.helm("upgrade", "--install", RELEASE, str(CHART), *where, "--wait", "--timeout=3m")


def _restart(kubectl: Kubectl, image: str) -> None:
    for deployment in kubectl.json("get", "deployments", "--all-namespaces")["items"]:
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        if any(each["image"] == image for each in deployment["spec"]["template"]["spec"]["containers"]):
            kubectl.within(namespace)("rollout", "restart", f"deployment/{name}")
            kubectl.within(namespace)("rollout", "status", f"deployment/{name}", "--timeout=3m")
