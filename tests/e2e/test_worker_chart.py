"""The chart of one worker on real pods: installed, upgraded, uninstalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from cluster import product
from e2e.test_hello import PODS, pod_names, run_demo, until_rolled

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kubectl import Kubectl

CHART = product.CHART.with_name("rochallor-worker")


@pytest.mark.usefixtures("dev_engine")
def test_a_release_is_a_worker(kubectl: Kubectl, tmp_path: Path) -> None:
    handlers, worker = yaml.safe_load_all((product.HELLO / "worker.yaml").read_text())
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(handlers))
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(worker["spec"]))
    kubectl.helm("install", "hello", str(CHART), f"--values={values}")
    kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
    run_demo(kubectl, 30)
    before = pod_names(kubectl)

    kubectl.helm("upgrade", "hello", str(CHART), "--reuse-values", "--set=parallelism=7")
    until_rolled(kubectl, before, 7)
    run_demo(kubectl, 10)

    kubectl.helm("uninstall", "hello")
    for gone in (("rw/hello",), ("deployment/hello",), PODS):
        kubectl("wait", *gone, "--for=delete", "--timeout=180s")
