"""The state of a worker at a glance: what the page at `/` fetches from /status.json, and `why` and `top` ask for."""

from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import msgspec

from rochallor_worker.execution.gates import Gate
from rochallor_worker.execution.in_flight import Run
from rochallor_worker.execution.runner import Runner
from rochallor_worker.observability.activity import Activity, Failure
from rochallor_worker.observability.http import not_ready
from rochallor_worker.observability.sampler import Sampler

JOBS = 1000
"""Most jobs in flight that are listed, the oldest first."""


def status(
    runner: Runner,
    activity: Activity,
    sampler: Sampler,
    *,
    transport: str,
    worker_id: str,
    clock: Callable[[], float],
) -> bytes:
    """Return the worker's state as JSON. Times in seconds; those of failures since the epoch."""
    now = clock()
    return msgspec.json.encode(
        {
            "worker": worker_id,
            "version": version("rochallor-worker"),
            "transport": transport,
            "problem": not_ready(runner),
            "notice": runner.notice,
            "draining": runner.drain and {**runner.drain._asdict(), "running": runner.slots.busy},
            "slots": {"busy": runner.slots.busy, "total": runner.slots.total, "utilization": sampler.utilization},
            "loopLag": sampler.loop_lag,
            "journal": {"jobs": len(runner.journal), "errors": runner.journal.errors},
            "types": [_job_type(activity, runner.gates[job_type], now) for job_type in activity.types],
            "jobs": [_job(run, now) for run in runner.runs[:JOBS]],
            "kafkaLag": sum(state.lag for state in runner.partitions.values()),
            "failed": _failures(activity.failed),
            "retried": _failures(activity.retried),
        }
    )


def _job_type(activity: Activity, gate: Gate, now: float) -> dict[str, Any]:
    seen, limits, circuit = activity.types[gate.job_type], gate.limits, gate.circuit
    series = activity.series(gate.job_type)
    return {
        "name": gate.job_type,
        "rate": activity.rate(gate.job_type),
        "wait": activity.wait(gate.job_type),
        "ended": [second.ended for second in series],
        "waits": [second.wait for second in series],
        "running": gate.running,
        "completed": seen.completed,
        "retried": seen.retried,
        "failed": seen.failed,
        "parked": gate.parked,
        "parallelism": limits.parallelism,
        "perSecond": limits.per_second,
        "scope": limits.scope,
        "breaker": "open" if circuit.open else "closed" if circuit.breaker else "off",
        "reason": circuit.reason if circuit.open else "",
        "probe": max(0.0, circuit.probe_at - now) if circuit.open else 0.0,
    }


def _job(run: Run, now: float) -> dict[str, Any]:
    return {
        "type": run.job.job_type,
        "instance": run.job.instance_id,
        "age": now - run.began,
        "left": None if run.lease is None else max(0.0, run.lease.end - now),
        "lost": run.lease is not None and run.lease.lost,
        "parked": not run.place.held,
        "ended": run.place.ended,
    }


def _failures(failures: Iterable[Failure]) -> list[dict[str, Any]]:
    return [
        {"at": one.at, "type": one.job_type, "instance": one.instance_id, "message": one.message}
        for one in reversed([*failures])
    ]
