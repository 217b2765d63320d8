"""The engine's state machine: what each call does, in memory, without I/O (engine.md; contract: `workflow.md`).

One call is one transaction: when it returns, all its effects are visible; when it fails, nothing has changed. What
happens without a call (`Background`) depends on the clock alone, so tests can use a virtual one.

`transitions` determines what a call does to an instance, `steps` what each type of step does in it; `instances`, `jobs`
and `timers` keep the rows, and `rows` writes and reads them.
"""

from typing import Self

from rochallor_worker.devengine.model.background import Background
from rochallor_worker.devengine.model.job_calls import JobCalls
from rochallor_worker.devengine.model.rows import Restoring

__all__ = ["EngineState"]


class EngineState(Background, JobCalls, Restoring):
    """All definitions, instances and jobs, and the calls that change them.

    `generation` chooses the rules, and may be changed at any time: an upgrade or a downgrade in the middle of a run.
    While `rolling` is on, replicas of both generations answer in turn, call by call. Without `heartbeat` a fenced
    engine cannot renew leases and ignores the requested length of a lease (generation C).

    `lease` is how long a claim lasts unless the poll asks for another length, in seconds; `clock` is the database's, in
    epoch seconds, and `skew` is how far the engine's own clock is ahead of it. With the dispatch mode "kafka_outbox"
    polls are refused, and `outbox` gets an event each time a job starts to wait for a worker; the last `replay`
    published ones can be published again. `changed` is called with each record that a call changes, and `restore` puts
    one back; only a clock moved by `advance` and the `log` are lost. `log` has every claim, complete, fail, renewal and
    expiry in order: the facts to check a worker against.
    """

    def replica(self) -> Self:
        """Return the replica that answers the next call; a transport asks once per call."""
        if self.rolling:
            self.generation = "A" if self.generation == "fenced" else "fenced"
        return self
