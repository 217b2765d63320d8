"""kube-apiserver and etcd fail: the operator waits for them, and misses nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from faults.estate import Estate, lives_until, on_an_estate, plane
from faults.impatient import WATCH_LIMIT_S
from faults.operator import through_a_proxy
from faults.suite import Suite
from waiting import wait_until

if TYPE_CHECKING:
    from faults.result import Resources
    from faults.suite import Trial


def away(here: Estate, trial: Trial) -> Resources:
    """Connections are refused for longer than a silent watch may last: a restart of the operator would mend nothing."""
    with here.impatient_operator() as operator:
        here.found()
        here.plane.control.stop_apiserver()
        failed = lives_until(operator, lambda given: given.status_code != 200, trial.size.lease + WATCH_LIMIT_S)
        operator.event("the watch can't be tested")
        here.plane.control.start_apiserver()
        ended_at = time.monotonic()
        here.change()
        figures = here.figures(operator, ended_at)
        failed = failed or lives_until(operator, lambda given: given.status_code != 200, WATCH_LIMIT_S)
        assert failed is None, failed.text
        return figures


def restarted(here: Estate, _: Trial) -> Resources:
    """It is killed and started in the middle of a burst of edits."""
    with here.operator() as operator:
        here.found()
        here.change()
        here.plane.control.stop_apiserver()
        here.plane.control.start_apiserver()
        return here.figures(operator, time.monotonic())


def compacted(here: Estate, _: Trial) -> Resources:
    """etcd forgets what the operator has not heard yet: its watch can't go on from where it was (410 Gone)."""
    with through_a_proxy(here) as (proxy, operator):
        here.found()
        version = here.api.the("RochallorWorker", "r-0")["metadata"]["resourceVersion"]
        proxy.cut()
        here.change()
        here.plane.control.stop_apiserver()  # it remembers some history of its own
        here.plane.control.compact()
        here.plane.control.start_apiserver()
        # at first it is not yet awake (429)
        wait_until(lambda: here.api.since("RochallorWorker", version).get("code") == 410)
        operator.event("the watch can't be tested")
        proxy.mend()
        return here.figures(operator, time.monotonic())


API_SERVER = Suite(
    "API server",
    plane,
    {
        "kube-apiserver away": on_an_estate(away),
        "kube-apiserver restarted": on_an_estate(restarted),
        "etcd compaction (410 Gone)": on_an_estate(compacted),
    },
)
