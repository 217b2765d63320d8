"""The contents of the images, and that the namespaces of these tests, the operator's included, admit only pods of the
restricted Pod Security Standard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster import product
from cluster.errors import ClusterError

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

LOOK = """
import json, os, stat

found = {"programs": [], "setuid": [], "writable": [], "user": os.getuid(), "installers": []}
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = sorted(set(folders) - {"proc", "sys", "dev"})
    for name in files + folders:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            continue
        if mode & 0o6000:
            found["setuid"].append(path)
        if mode & 0o002:
            found["writable"].append(path)
        if name in {"pip", "setuptools", "ensurepip"}:
            found["installers"].append(path)
        if stat.S_ISREG(mode) and mode & 0o111 and ".so" not in name:
            with open(path, "rb") as file:
                if file.read(4) == b"\\x7fELF" or folder.endswith("bin"):
                    found["programs"].append(name)
print(json.dumps(found))
"""
"""Lists the programs and unusual files of the image it runs in."""


def look(target: str) -> dict[str, Any]:
    """Return a pod that runs it in the image of the Dockerfile's stage `target`, as the image's user."""
    container = {
        "name": "look",
        "image": product.image(target),
        "imagePullPolicy": "Never",
        "command": ["python", "-c", LOOK],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"}, "spec": spec}


@pytest.mark.parametrize("target", ["worker", "operator"])
def test_an_image_holds_python_and_the_application_alone(kubectl: Kubectl, target: str) -> None:
    kubectl("apply", "--filename=-", stdin=json.dumps(look(target)))
    kubectl("wait", "pod/look", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
    found = json.loads(kubectl("logs", "look"))
    [interpreter] = [name for name in found["programs"] if name.startswith("python3.")]
    assert sorted(found["programs"]) == sorted([interpreter, f"rochallor-{target}"])
    assert found == found | {"setuid": [], "writable": ["/tmp"], "user": 65532, "installers": []}  # noqa: S108 (of the image)


def test_other_pods_are_refused(kubectl: Kubectl) -> None:
    with pytest.raises(ClusterError, match='violates PodSecurity "restricted:latest"'):
        kubectl("run", "any", "--image=any", "--restart=Never")
