"""Reading what a process exports to Prometheus."""

from __future__ import annotations


def total(exposition: str, metric: str) -> float:
    """The sum of a metric over its labels."""
    lines = exposition.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((metric + "{", metric + " ")))
