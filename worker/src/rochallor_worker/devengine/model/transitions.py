"""A transition: what one call does to an instance, determined before any of it is written.

The engine does it in one transaction: what fails in the middle never happened.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rochallor_worker.devengine.definition import Step
from rochallor_worker.devengine.errors import InternalError
from rochallor_worker.devengine.model.timers import Timer, seconds_of
from rochallor_worker.devengine.model.variables import Variables, merged
from rochallor_worker.devengine.records import Instance, InstanceStatus, StepExecution


class NewJob(NamedTuple):
    """A job that a step creates, with the current variables."""

    execution: StepExecution
    step: Step
    variables: Variables


class Transition:
    """The new state of an instance; `moving` until the instance ends.

    In an instance that had already ended, steps are still entered, but its status does not change.
    """

    __slots__ = (
        "current_step_ids",
        "definition",
        "entries",
        "instance",
        "jobs",
        "live",
        "moving",
        "new_id",
        "now",
        "reason",
        "status",
        "timers",
        "user_tasks",
        "variables",
    )

    def __init__(self, instance: Instance, now: float, new_id: Callable[[float], str]) -> None:
        self.instance = instance
        self.definition = instance.definition
        self.now = now
        self.new_id = new_id
        self.live = instance.live
        self.moving = True
        self.status = instance.status
        self.reason = instance.failure_reason
        self.variables = instance.variables
        self.current_step_ids = instance.current_step_ids
        self.user_tasks = instance.user_tasks
        self.entries: list[StepExecution] = []
        self.jobs: list[NewJob] = []
        self.timers: list[Timer] = []

    def merge(self, variables: Mapping[str, Any] | None) -> None:
        """Merge variables into the instance's."""
        self.variables = merged(self.variables, variables)

    def entry(self, step: Step) -> StepExecution:
        """Add an entry into a step to the history."""
        step_id, history = step.id, self.instance.history
        execution = StepExecution(
            id=self.new_id(self.now),
            instance_id=self.instance.id,
            step_id=step_id,
            step_type=step.type,
            attempt=1 + [entry.step_id for entry in (*history, *self.entries)].count(step_id),
            status="RUNNING",
            started_at=self.now,
        )
        self.entries.append(execution)
        return execution

    def arrive(self, step: Step) -> None:
        """Add a step to the current ones; it keeps its position if it is among them already."""
        if step.id not in self.current_step_ids:
            self.current_step_ids = (*self.current_step_ids, step.id)

    def leave(self, step: Step) -> None:
        """Remove a step from the current ones."""
        self.current_step_ids = tuple([other for other in self.current_step_ids if other != step.id])

    def set_timers(self, step: Step, execution: StepExecution) -> None:
        """Set the timers of an entered step. Raises `InternalError` for an invalid duration."""
        for number, event in enumerate(step.boundary_events or ()):
            try:
                due = self.now + seconds_of(event.duration)
            except ValueError as error:
                raise InternalError(f'boundary event duration "{event.duration}": {error}') from error
            self.timers.append(Timer(due, self.instance, execution, number))

    def close(self, execution: StepExecution) -> None:
        """Complete an entry of this transition."""
        execution.status, execution.ended_at = "COMPLETED", self.now

    def revive(self) -> None:
        """Make a failed instance live again."""
        self.live, self.status, self.reason = True, "ACTIVE", None

    def complete(self) -> None:
        """Complete the instance."""
        self._end("COMPLETED", None)

    def fail(self, reason: str, execution: StepExecution | None = None) -> None:
        """Fail the instance, and the entry into the step that caused it."""
        if execution is not None:
            execution.status, execution.ended_at, execution.failure_reason = "FAILED", self.now, reason
        self._end("FAILED", reason)

    def _end(self, status: InstanceStatus, reason: str | None) -> None:
        if self.live:
            self.status, self.reason, self.moving = status, reason, False

    def wait(self) -> None:
        """Let the instance wait for a user task or a signal."""
        if self.live:
            self.status = "WAITING"
