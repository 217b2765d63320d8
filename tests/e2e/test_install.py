"""The chart's own test passes for an installed operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import product

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl


def test_the_release_passes_its_test(cluster: Kubectl) -> None:
    output = cluster.within(product.NAMESPACE).helm("test", product.RELEASE, "--timeout=2m")
    assert "Phase:          Succeeded" in output
