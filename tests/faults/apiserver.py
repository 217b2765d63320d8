"""Faults of kube-apiserver and etcd: the operator waits for them, and misses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from faults.estate import Estate, lives_until, on_an_estate, plane
from faults.impatient import WATCH_LIMIT_S
from faults.operator import through_a_proxy
from faults.suite import Suite
from rochallor_operator.cluster.canary import LIMIT_S
from waiting import wait_until

if TYPE_CHECKING:
    from faults.result import Resources
    from faults.suite import Trial


def down(here: Estate, trial: Trial) -> Resources:
    """Connections are refused for longer than a watch may be silent: a restart of the operator would not help."""
    with here.impatient_operator() as operator:
        here.create_first()
        here.plane.control.stop_apiserver()
        failed = lives_until(operator, lambda given: given.status_code != 200, trial.size.lease + WATCH_LIMIT_S)
        operator.event("can't test the watch")
        here.plane.control.start_apiserver()
        ended_at = time.monotonic()
        here.change()
        figures = here.figures(operator, ended_at)
        assert failed is None, failed.text
        # kopf may take 15 s to stop before it watches again: more than this operator allows, less than others do
        assert lives_until(operator, lambda given: given.status_code == 200, LIMIT_S) is not None
        return figures


def restarted(here: Estate, _: Trial) -> Resources:
    """kube-apiserver is killed and started in the middle of a burst of edits."""
    with here.operator() as operator:
        here.create_first()
        here.change()
        here.plane.control.stop_apiserver()
        here.plane.control.start_apiserver()
        return here.figures(operator, time.monotonic())


def compacted(here: Estate, _: Trial) -> Resources:
    """etcd drops history that the operator has not received: its watch cannot resume (410 Gone)."""
    with through_a_proxy(here) as (proxy, operator):
        here.create_first()
        version = here.api.the("RochallorWorker", "r-0")["metadata"]["resourceVersion"]
        proxy.cut()
        here.change()
        here.plane.control.stop_apiserver()  # it has a watch cache of its own
        here.plane.control.compact()
        here.plane.control.start_apiserver()
        # at first it answers 429
        wait_until(lambda: here.api.since("RochallorWorker", version).get("code") == 410)
        operator.event("can't test the watch")
        proxy.restore()
        return here.figures(operator, time.monotonic())


API_SERVER = Suite(
    "API server",
    plane,
    {
        "kube-apiserver down": on_an_estate(down),
        "kube-apiserver restarted": on_an_estate(restarted),
        "etcd compaction (410 Gone)": on_an_estate(compacted),
    },
)
