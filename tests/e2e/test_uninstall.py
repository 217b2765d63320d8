"""Uninstalling the chart leaves workers and the CRD in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import product

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

PODS = ("pods", "--selector=rochallor.io/worker=hello", "--output=jsonpath={.items[*].metadata.uid}")


def test_workers_and_crd_outlive_the_operator(hello: Kubectl, cluster: Kubectl) -> None:
    pods = hello("get", *PODS)
    try:
        cluster.within(product.NAMESPACE).helm("uninstall", product.RELEASE, "--wait")
        hello("get", "crd/rochallorworkers.rochallor.io", "rw/hello")
        hello("delete", "service/hello-metrics")
    finally:
        product.install_operator(cluster)
    hello("wait", "service/hello-metrics", "--for=create", "--timeout=180s")  # the new operator has been here
    assert hello("get", *PODS) == pods
