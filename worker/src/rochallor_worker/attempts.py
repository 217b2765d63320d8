"""How often this process has seen a job run."""

from collections import OrderedDict

REMEMBERED = 10_000
"""Failed jobs whose runs are counted; the oldest are forgotten."""


class Attempts:
    """Counts the runs of jobs that are to be tried again."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, int] = OrderedDict()

    def next(self, job_id: str) -> int:
        """Return the number of the run that begins, from 1."""
        return self._failed.get(job_id, 0) + 1

    def failed(self, job_id: str) -> None:
        """A run has failed and another one will follow."""
        self._failed[job_id] = self.next(job_id)
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)

    def ended(self, job_id: str) -> None:
        """No other run will follow."""
        self._failed.pop(job_id, None)
