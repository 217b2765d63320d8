"""Objects that no worker uses, and hundreds of pods, cost the operator no memory. Numbers are printed."""

from __future__ import annotations

import re
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from integration.operator.process import Operator
from integration.operator.samples import (
    NAME,
    code,
    code_version,
    make_available,
    replicas,
    resource,
    secret,
    with_config_map,
)
from integration.operator.test_secrets import config_map
from waiting import wait_until

if TYPE_CHECKING:
    from integration.operator.api import Api

pytestmark = pytest.mark.timeout(400)

LIMIT_MB = 150
"""Far below the chart's limit of 256 MiB."""


def peak_mb(operator: Operator) -> float:
    """The peak memory of the process so far."""
    status = Path(f"/proc/{operator.process.pid}/status").read_text()
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+)", status)
    return int(kilobytes) / 1000


def test_secrets_and_config_maps_that_no_worker_uses(api: Api, kubeconfig: Path) -> None:
    """O8, S2, B1: 80 ConfigMaps of 900 KB, or 91 Secrets of 1 MiB, were more than the operator survived."""
    for number in range(100):
        api.create(config_map(f"bundle-{number}", certificates="x" * 900_000))
    for number in range(91):
        api.create(secret(f"store-{number}", keys="x" * (1 << 20)))
    for number in range(5000):
        api.create(secret(f"small-{number}", key="x"))
    with Operator(kubeconfig, worker_image="worker:test") as operator:
        operator.event("watching")
        api.create(code())
        api.create(with_config_map())
        make_available(api, 1)
        at_first = peak_mb(operator)
        for number in range(30):
            api.patch("ConfigMap", f"bundle-{number}", {"data": {"certificates": f"{number % 10}" * 900_000}})
            api.patch("Secret", f"store-{number}", {"stringData": {"keys": f"{number % 10}" * (1 << 20)}})
        before = code_version(api.the("Deployment", NAME))
        began = monotonic()
        api.patch("ConfigMap", "code", {"data": {"handlers.py": "registry = 2"}})
        api.until_the("Deployment", NAME, lambda live: code_version(live) != before, timeout=30)
        seen = monotonic() - began
        print(
            f"5,191 strangers of 185 MB: {at_first:.0f} MB at first, {peak_mb(operator):.0f} MB after 60 edits of them;"
        )
        print(f"an edit of a ConfigMap in use reached the Deployment in {seen:.2f} s")
        assert peak_mb(operator) < LIMIT_MB


def test_pods_by_the_hundred_with_big_specifications(api: Api, kubeconfig: Path) -> None:
    """O9: 1,000 replicas with 256 variables of 300 characters, none of which finds a node."""
    wanted = 300
    environment = [{"name": f"VARIABLE_{number}", "value": "x" * 300} for number in range(256)]
    with Operator(kubeconfig, worker_image="worker:test") as operator:
        operator.event("watching")
        at_rest = peak_mb(operator)
        api.create(resource(replicas=wanted, env=environment))
        api.until_the("Deployment", NAME, replicas(wanted), timeout=180)
        reconciled = operator.metric("rochallor_operator_reconciles_total")
        wait_until(lambda: operator.metric("rochallor_operator_reconciles_total") >= reconciled + 3, within=150)
        print(f"{wanted} pods of 80 kB: {peak_mb(operator):.0f} MB, {at_rest:.0f} MB before them")
        assert operator.http("/livez").status_code == 200
        assert peak_mb(operator) < LIMIT_MB
        api.patch("RochallorWorker", NAME, {"spec": {"suspend": True}})
        api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 0)
