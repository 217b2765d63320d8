"""Lanes: handlers in processes have slots of their own, one for each child, so no job waits for a child."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rochallor_worker.execution.slots import Slots
from rochallor_worker.registry import Handler
from rochallor_worker.source.base import Source


class Lane(NamedTuple):
    """Job types that share slots and a source, so that jobs of other types neither wait for them nor hold them up."""

    job_types: Sequence[str]
    slots: Slots
    source: Source


def lanes(
    handlers: Sequence[Handler],
    *,
    parallelism: int,
    threads: int,
    children: int,
    clock: Callable[[], float],
    source_of: Callable[[Sequence[str], int], Source],
) -> list[Lane]:
    """Return the lanes of these handlers: one for those in processes, one for all others.

    Where no handler is async there are no more slots than threads: a job must not wait for a thread either.
    """
    in_process = [handler.job_type for handler in handlers if handler.executor == "process"]
    others = [handler for handler in handlers if handler.executor != "process"]
    slots = parallelism if any(handler.is_async for handler in others) else min(parallelism, threads)
    return [
        Lane(job_types, Slots(total, clock), source_of(job_types, total))
        for job_types, total in (([handler.job_type for handler in others], slots), (in_process, children))
        if job_types
    ]
