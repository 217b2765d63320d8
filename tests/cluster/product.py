"""The product on a test cluster: images from this checkout, the operator from its chart."""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from cluster import images, kind, node
from cluster.errors import ClusterError
from cluster.kubectl import KUBECONFIG, Kubectl
from cluster.progress import phase

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASE = "rochallor-operator"
NAMESPACE = "rochallor-system"
CHART = images.ROOT / "charts" / "rochallor-operator"
HELLO = images.ROOT / "examples" / "hello"


def image(target: str) -> str:
    """The name of the image of the Dockerfile's stage `target`."""
    return f"rochallor/rochallor-{target}:{version('rochallor-' + target)}"


def build_images() -> list[str]:
    """Build both images; return their names."""
    names = []
    for target in ("worker", "operator"):
        names.append(image(target))
        images.build(target, names[-1])
    return names


@contextmanager
def on_a_cluster() -> Iterator[Kubectl]:
    """Start the cluster if needed, with this checkout's images and the operator; leave it running afterwards."""
    (kind if kind.works() else node).up(KUBECONFIG)
    kubectl = Kubectl(KUBECONFIG)
    make_restricted(kubectl, NAMESPACE)
    install(kubectl)
    yield kubectl


def install(kubectl: Kubectl) -> None:
    """Build and load both images and install the operator; Deployments that run an older build are restarted."""
    loaded = load_images()
    install_operator(kubectl)
    for name in loaded:  # not before: a newer operator may need rights that only its own chart gives
        _restart(kubectl, name)


def load_images() -> list[str]:
    """Build both images and load them into the cluster; return those of which it may still run an older build."""
    cluster = kind if kind.works() else node
    return [name for name in build_images() if cluster.load(name)]


def install_operator(kubectl: Kubectl, *values: str) -> None:
    """Install the chart, or upgrade it, with only these values (NAME=VALUE), and wait until the operator is ready."""
    with phase("install the operator (helm)"):
        where = ("--namespace", NAMESPACE, "--create-namespace")
        with explained(kubectl.within(NAMESPACE), f"deployment/{RELEASE}"):
            settings = [f"--set={value}" for value in values]
            # without --reset-values an earlier checkout's values would stay
            upgrade = ("upgrade", "--install", RELEASE, str(CHART), "--reset-values", *settings)
            kubectl.helm(*upgrade, *where, "--wait", "--timeout=5m")


def make_restricted(kubectl: Kubectl, namespace: str) -> None:
    """Create a namespace if missing, and let it admit only pods of the restricted Pod Security Standard."""
    metadata = {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    wish = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(wish))


@contextmanager
def explained(kubectl: Kubectl, workload: str) -> Iterator[None]:
    """Add the last log lines of `workload` to a ClusterError that is raised in the block."""
    try:
        yield
    except ClusterError as error:
        try:
            logs = kubectl("logs", workload, "--tail=5")
        except ClusterError as no_logs:
            logs = str(no_logs)
        raise ClusterError(f"{error}\nlog of {workload}:\n{logs}") from error


def _restart(kubectl: Kubectl, image: str) -> None:
    namespaces = kubectl.json("get", "namespaces")["items"]
    leaving = {each["metadata"]["name"] for each in namespaces if each["status"]["phase"] == "Terminating"}
    for deployment in kubectl.json("get", "deployments", "--all-namespaces")["items"]:
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        images_used = {each["image"] for each in deployment["spec"]["template"]["spec"]["containers"]}
        if image in images_used and namespace not in leaving:
            kubectl.within(namespace)("rollout", "restart", f"deployment/{name}")
            kubectl.within(namespace)("rollout", "status", f"deployment/{name}", "--timeout=3m")
