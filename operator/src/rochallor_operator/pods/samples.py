"""What a pod's metrics say about its jobs. A pod is not trusted: what can't be understood is left out (pure)."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED: Final = frozenset({"completed", "failed_retryable", "failed_final", "refused"})
"""The outcomes that say something about the handlers. A lost lease, a late answer and an engine that isn't reached
don't, nor does a job that is postponed."""
FAILED: Final = ENDED - {"completed"}
_MOST: Final = 10**12
_LINE: Final = re.compile(
    rb"^rochallor_worker_(jobs_total|handler_seconds_bucket|breaker_open|kafka_lag)\{([^{}\n]{1,512})\} (\S{1,32})$",
    re.MULTILINE,
)
_LABEL: Final = re.compile(r'(?<!\w)(\w++)="([^"\\]*+)"')
"""Never tried twice at a place: a pod may send long lines that almost match."""


@dataclass(frozen=True)
class Sample:
    """The counters of a pod since it started, in jobs, and its state."""

    jobs: int = 0
    failures: int = 0
    slow: int = 0
    breakers: frozenset[str] = frozenset()
    """The job types whose breaker is open."""
    partitions: int = 0
    """How many Kafka partitions the pod has."""


def sample(body: bytes, slower_than: float | None = None) -> Sample | None:
    """Read the metrics of a pod. None when it has no counters of jobs.

    slow counts the runs above the smallest of the histogram's bounds that is not below slower_than (seconds).
    """
    jobs: defaultdict[str, int] = defaultdict(int)
    runs: defaultdict[str, dict[float, int]] = defaultdict(dict)
    breakers: set[str] = set()
    partitions = 0
    for name, labels, value in _lines(body):
        match name:
            case "jobs_total":
                jobs[labels.get("outcome", "")] += value
            case "handler_seconds_bucket":
                runs[labels.get("job_type", "")][_bound(labels.get("le", ""))] = value
            case "breaker_open" if value:
                breakers.add(labels.get("job_type", ""))
            case "kafka_lag":
                partitions += 1
    if not jobs:
        return None
    return Sample(
        sum(jobs[outcome] for outcome in ENDED),
        sum(jobs[outcome] for outcome in FAILED),
        0 if slower_than is None else sum(_slow(buckets, slower_than) for buckets in runs.values()),
        frozenset(breakers),
        partitions,
    )


def _lines(body: bytes) -> Iterator[tuple[str, dict[str, str], int]]:
    for line in _LINE.finditer(body):
        try:
            value = float(line[3])
        except ValueError:
            continue
        if 0 <= value <= _MOST:  # NaN is neither
            labels = dict(_LABEL.findall(line[2].decode("utf-8", "replace")))
            yield line[1].decode(), labels, int(value)


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _slow(buckets: dict[float, int], slower_than: float) -> int:
    """How many runs are above the bound that counts; the bound +Inf has all of them."""
    bound = min((bound for bound in buckets if bound >= slower_than), default=math.inf)
    return max(0, buckets.get(math.inf, 0) - buckets.get(bound, 0))
