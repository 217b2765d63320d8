"""Faults of pods, on a real cluster: evicted by a drain, deleted by force, killed for memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cluster import product
from faults.field import RETRIES, SELECTOR, a_field
from faults.result import with_second_runs
from faults.suite import NO_FAULT, Suite, in_thread
from rochallor_worker.execution.journal import MAX_CRASHES

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl
    from faults.result import Jobs
    from faults.suite import Trial

LONG_S = 15.0
"""A job that still runs when a busy machine has deleted its pod, which then gets 1 s more; its lease is renewed."""


def no_fault(cluster: Kubectl, trial: Trial) -> Jobs:
    """No fault, for comparison."""
    with a_field(cluster, trial) as here:
        return here.figures(time.monotonic())


def evicted(cluster: Kubectl, trial: Trial) -> Jobs:
    """What `kubectl drain` does to the pods of a node: all are evicted, as the disruption budget allows."""
    with a_field(cluster, trial) as here:
        waiting, refusals = [pod["metadata"]["name"] for pod in here.pods()], 0
        assert len(waiting) == 2
        going: dict[str, float] = {}
        while waiting or going:
            for name in list(waiting):
                if here.evict(name):
                    waiting.remove(name)
                    going[name] = time.monotonic()
                else:
                    refusals += 1
            there = {pod["metadata"]["name"] for pod in here.kubectl.json("get", "pods", SELECTOR)["items"]}
            here.drains += [time.monotonic() - going.pop(name) for name in going.keys() - there]
            time.sleep(0.5)
        assert refusals, "both were evicted at once"
        return here.figures(time.monotonic())


def deleted_by_force(cluster: Kubectl, trial: Trial) -> Jobs:
    """`kubectl delete pod --grace-period=0 --force`: its jobs are redelivered when their leases have ended."""
    with a_field(cluster, trial, tenth_s=LONG_S, drainTimeout="1s") as here:
        before = len(here.ledger()["notes"])

        def where_long_ones_begin() -> list[str]:
            notes = here.ledger()["notes"][before:]
            return [pod for what, _, instance, _, pod in notes if what == "begin" and instance in here.tenth]

        assert here.until(where_long_ones_begin)
        name = where_long_ones_begin()[-1]
        here.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        here.killed(name)
        return with_second_runs(here.figures(time.monotonic()))


def killed_for_memory(cluster: Kubectl, trial: Trial) -> Jobs:
    """A job exceeds its pod's memory limit whenever it runs: with the journal it is failed permanently."""
    limit = {"limits": {"memory": "200Mi"}}
    with a_field(cluster, trial, replicas=1, resources=limit) as here:
        name = here.pods()[0]["metadata"]["name"]
        here.start("eat")
        here.until(lambda: here.done("eat") == 1)
        ended_at = time.monotonic()
        here.killed(name)
        *_, eater = [job for job in here.ledger()["jobs"] if job["type"] == "eat"]
        assert (eater["status"], eater["retries_remaining"]) == ("FAILED", RETRIES), eater
        assert f"killed its worker {MAX_CRASHES} times" in eater["reason"], eater
        [container] = here.pods()[0]["status"]["containerStatuses"]
        assert container["lastState"]["terminated"]["reason"] == "OOMKilled", container
        return here.figures(ended_at, restarts=MAX_CRASHES)


PODS = Suite(
    "Pods",
    product.on_a_cluster,
    {
        NO_FAULT: in_thread(no_fault),
        "node drain with a disruption budget": in_thread(evicted),
        "pod deleted by force": in_thread(deleted_by_force),
        "worker OOM-killed by a job": in_thread(killed_for_memory),
    },
    at_once=4,
)
