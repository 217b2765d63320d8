"""`/status.json`: what the status page shows, and each job in flight, for programs."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import msgspec

from rochallor_worker.execution.gates import Gate
from rochallor_worker.execution.in_flight import Run
from rochallor_worker.execution.runner import Runner
from rochallor_worker.observability.http import not_ready
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status_page import Activity


def status_json(
    runner: Runner,
    activity: Activity,
    sampler: Sampler,
    *,
    transport: str,
    worker_id: str,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """Return the state of a worker as JSON; durations are in seconds. `clock` is the runner's."""
    now = clock()
    state = {
        "workerId": worker_id,
        "version": version("rochallor-worker"),
        "transport": transport,
        "problem": not_ready(runner),
        "notice": runner.notice,
        "slots": {"total": runner.slots.total, "busy": runner.slots.busy, "utilization": sampler.utilization},
        "jobTypes": [_job_type(activity, runner.gates[job_type]) for job_type in activity.types],
        "jobs": [_job(run, now) for run in runner.runs],
        "kafkaLag": sum(state.lag for state in runner.partitions.values()),
    }
    return msgspec.json.encode(state)


def _job_type(activity: Activity, gate: Gate) -> dict[str, Any]:
    seen, breaker = activity.types[gate.job_type], gate.circuit.breaker
    return {
        "jobType": gate.job_type,
        "running": gate.running,
        "parked": gate.parked,
        "parallelism": gate.limits.parallelism,
        "perSecond": gate.limits.per_second,
        "breaker": "open" if gate.circuit.open else "closed" if breaker else "off",
        "breakerReason": gate.circuit.reason if gate.circuit.open else "",
        "room": gate.room,
        "jobsPerSecond": activity.rate(gate.job_type),
        "completed": seen.completed,
        "retried": seen.retried,
        "failed": seen.failed,
        "lastError": seen.last_error,
        "lastErrorAt": seen.last_error_at,
    }


def _job(run: Run, now: float) -> dict[str, Any]:
    return {
        "jobId": run.job.id,
        "instanceId": run.job.instance_id,
        "jobType": run.job.job_type,
        "seconds": now - run.began,
        "leaseLeft": None if run.lease is None else run.lease.end - now,
        "parked": not run.place.held,
    }
