"""What all calls share: settings, rows, the clock, and writing a transition."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from rochallor_worker.devengine.catalog import Catalog
from rochallor_worker.devengine.model.instances import Instances
from rochallor_worker.devengine.model.jobs import Jobs
from rochallor_worker.devengine.model.timers import Timers
from rochallor_worker.devengine.model.transitions import Transition
from rochallor_worker.devengine.model.ulid import Ulids
from rochallor_worker.devengine.records import Changed, DispatchMode, Event, Generation, Instance, Job, unkept


class Chained(NamedTuple):
    """An instance to start because another one has reached its END."""

    id: str
    definition_id: str
    variables: Mapping[str, Any]
    business_key: str


class Core:
    """The engine's state without its calls; `EngineState` describes the settings."""

    def __init__(
        self,
        *,
        generation: Generation = "fenced",
        heartbeat: bool = True,
        lease: float = 30.0,
        clock: Callable[[], float] = time.time,
        skew: float = 0.0,
        dispatch_mode: DispatchMode = "polling",
        replay: int = 0,
        changed: Changed = unkept,
    ) -> None:
        self.generation: Generation = generation
        self.heartbeat = heartbeat
        self.rolling = False
        self.lease = lease
        self.skew = skew
        self.definitions = Catalog(self.now, changed)
        self.log: list[Event] = []
        self._clock = clock
        self._ahead = 0.0
        self._changed = changed
        self._ulids = Ulids()
        self._instances = Instances(changed)
        self._jobs = Jobs(self._ulids, dispatch_mode, replay, changed)
        self._timers = Timers(changed)
        self._chained: list[Chained] = []
        self.instances = self._instances.rows
        self.jobs = self._jobs.rows
        self.outbox = self._jobs.outbox

    def now(self) -> float:
        """Return the time of the database's clock, in epoch seconds."""
        return self._clock() + self._ahead

    @property
    def dispatch_mode(self) -> DispatchMode:
        """How jobs get to workers; a change applies to jobs created or unlocked from then on."""
        return self._jobs.dispatch_mode

    @dispatch_mode.setter
    def dispatch_mode(self, mode: DispatchMode) -> None:
        self._jobs.dispatch_mode = mode

    @property
    def renewable(self) -> bool:
        """Whether leases can be renewed and their length requested."""
        return self.generation == "fenced" and self.heartbeat

    def _transition(self, instance: Instance, now: float) -> Transition:
        return Transition(instance, now, self._ulids.next)

    def _write(self, transition: Transition) -> None:
        """Write the result of a transition; an instance that reaches its END may chain to another."""
        instance, now = transition.instance, transition.now
        instance.variables = transition.variables
        instance.current_step_ids = transition.current_step_ids
        instance.history += tuple(transition.entries)
        instance.user_tasks = transition.user_tasks
        self._instances.changed(instance)
        for execution, step, variables in transition.jobs:
            self._jobs.add(execution, instance, step.job_type or step.id, step.retry_count, variables, now)
        for timer in transition.timers:
            self._timers.add(timer)
        if transition.status != instance.status or not transition.moving:
            ended_at = None if transition.moving else now
            self._instances.set_status(instance, transition.status, ended_at, transition.reason)
            if transition.status == "COMPLETED" and instance.definition.auto_start_next_workflow:
                self._chain(instance, now)

    def _chain(self, instance: Instance, now: float) -> None:
        """Schedule the next workflow, on fenced engines with the business key (engine.md: "Definitions")."""
        key = (instance.business_key or "") if self.generation != "A" else ""
        following = Chained(self._ulids.next(now), instance.definition.next_workflow_id, instance.variables, key)
        self._chained.append(following)
        self._changed("chained", following.id, following)

    def _note(
        self,
        kind: Literal["claim", "complete", "fail", "extend", "expire"],
        job: Job,
        worker_id: str,
        now: float,
        *,
        counted: bool = True,
        retryable: bool = False,
        message: str = "",
    ) -> None:
        self.log.append(Event(kind, job.id, worker_id, now, retryable, message, counted, job.execution.id))
