"""An operator for one namespace, installed by an account without rights elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from cluster import product
from cluster.errors import ClusterError
from cluster.kubectl import KUBECONFIG, Kubectl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = "tenant"


@pytest.fixture
def tenant(kubectl: Kubectl, tmp_path: Path) -> Kubectl:
    """kubectl and helm as an account with all rights in the test's namespace."""
    kubectl("create", "serviceaccount", ACCOUNT)
    subject = f"--serviceaccount={kubectl.namespace}:{ACCOUNT}"
    kubectl("create", "rolebinding", ACCOUNT, "--clusterrole=cluster-admin", subject)
    config = yaml.safe_load(KUBECONFIG.read_text())
    for user in config["users"]:
        user["user"] = {"token": kubectl("create", "token", ACCOUNT)}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return Kubectl(kubeconfig, kubectl.namespace)


@pytest.fixture
def nobody_else(cluster: Kubectl) -> Iterator[None]:
    """Stop the operator of all namespaces; its CRD stays."""
    operator = cluster.within(product.NAMESPACE)
    deployment = f"deployment/{product.RELEASE}"
    selector = f"--selector=app.kubernetes.io/instance={product.RELEASE}"
    operator("scale", deployment, "--replicas=0")
    try:
        operator("wait", "pods", selector, "--for=delete", "--timeout=180s")
        yield
    finally:
        operator("scale", deployment, "--replicas=1")
        operator("rollout", "status", deployment, "--timeout=180s")


@pytest.mark.usefixtures("nobody_else")
def test_rights_in_a_namespace_are_enough_there(tenant: Kubectl) -> None:
    with pytest.raises(ClusterError, match="Forbidden"):
        tenant.within("default")("get", "pods")
    only_here = f"--set=watchNamespaces={{{tenant.namespace}}},crds.install=false"
    tenant.helm("install", product.RELEASE, str(product.CHART), only_here, "--wait", "--timeout=2m")
    tenant("apply", f"--filename={product.HELLO}")
    tenant("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
    assert "Phase:          Succeeded" in tenant.helm("test", product.RELEASE, "--timeout=2m")
