"""The jobs that wait for a worker."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from rochallor_worker.devengine.records import Job


class Backlog:
    """The UNLOCKED jobs of each type in order of creation.

    A job that leaves the status otherwise than by `take` is not sought out: its entry is dropped when it comes to the
    front, or serves again if the job becomes UNLOCKED before that.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, list[int]] = {}
        self._jobs: dict[int, Job] = {}

    def add(self, job: Job) -> None:
        """Add a job that is now UNLOCKED."""
        if job.number not in self._jobs:
            self._jobs[job.number] = job
            heappush(self._numbers.setdefault(job.job_type, []), job.number)

    def take(self, job_types: Iterable[str], limit: int) -> Iterator[Job]:
        """Yield up to `limit` jobs, the oldest first over all the types. Lock each before asking for the next."""
        queues = [queue for job_type in set(job_types) if (queue := self._numbers.get(job_type))]
        while limit > 0:
            queues = [queue for queue in queues if self._trim(queue)]
            if not queues:
                return
            queue = min(queues, key=lambda queue: queue[0])
            yield self._jobs.pop(heappop(queue))
            limit -= 1

    def _trim(self, queue: list[int]) -> bool:
        """Drop entries from the front until it is an UNLOCKED job's; say whether there is one."""
        while queue and self._jobs[queue[0]].status != "UNLOCKED":
            del self._jobs[heappop(queue)]
        return bool(queue)
