"""The calls on instances: start, get, list, cancel, retry a step, complete a user task, signal a wait."""

from collections.abc import Mapping
from typing import Any

from rochallor_worker.devengine.errors import (
    BadRequestError,
    ConflictError,
    InternalError,
    NotFoundError,
    NotSupportedError,
)
from rochallor_worker.devengine.model.core import Core
from rochallor_worker.devengine.model.steps import enter, go_on_after, parked
from rochallor_worker.devengine.model.variables import check_json, check_schema, check_text
from rochallor_worker.devengine.records import Instance, StepExecution


class InstanceCalls(Core):
    """Part of `EngineState`."""

    def start(
        self, definition_id: str, version: int = 0, variables: Mapping[str, Any] | None = None, business_key: str = ""
    ) -> Instance:
        """Start an instance at the definition's first step. An unknown definition is an internal error."""
        try:
            definition = self.definitions.get(definition_id, version)
        except NotFoundError as error:
            raise InternalError(f'start: load definition "{definition_id}": {error}') from error
        if self.generation != "A":
            check_schema(definition.input_schema, variables or {})
            self._instances.check_business_key(definition_id, business_key)
        check_json("start: insert instance: ", dict(variables or {}))
        check_text("start: insert instance: ", business_key)
        now = self.now()
        instance = Instance(
            id=self._ulids.next(now),
            definition=definition,
            status="ACTIVE",
            variables=dict(variables or {}),
            started_at=now,
            business_key=business_key or None,
        )
        transition = self._transition(instance, now)
        try:
            enter(transition, definition.steps[0].id)
        except InternalError as error:
            raise InternalError(f"start: {error}") from error
        self._instances.add(instance)
        self._write(transition)
        return instance

    def instance(self, instance_id: str) -> Instance:
        """Return an instance; its history is among its fields."""
        return self._instances.get(instance_id)

    def list_instances(
        self, *, definition_id: str = "", status: str = "", business_key: str = "", page: int = 0, page_size: int = 20
    ) -> tuple[list[Instance], int]:
        """Return one page of the instances that match, the newest first, and how many match."""
        return self._instances.list(
            definition_id=definition_id, status=status, business_key=business_key, page=page, page_size=page_size
        )

    def cancel(self, instance_id: str, reason: str = "") -> Instance:
        """Cancel a live instance; any other is an internal error. Its jobs can still be claimed."""
        instance = self.instances.get(instance_id)
        if instance is None or not instance.live:
            raise InternalError("cancel: no rows in result set")
        check_text("cancel: ", reason)
        self._instances.set_status(instance, "CANCELLED", self.now(), reason)
        return instance

    def retry_step(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> Instance:
        """Run the failed step of a FAILED instance again, as a new step execution with all retries (B on)."""
        if self.generation == "A":
            raise NotSupportedError("404 page not found")
        instance = self._instances.acted_on(instance_id)
        if instance.status != "FAILED":
            raise ConflictError(f"instance is {instance.status}, not FAILED")
        if all(step.id != step_id for step in instance.definition.steps):
            raise InternalError(f'retry step: step "{step_id}" not found')
        attempts = [execution for execution in instance.history if execution.step_id == step_id]
        if not attempts or attempts[-1].status != "FAILED":
            raise ConflictError(f'the latest attempt of step "{step_id}" is not FAILED')
        self._instances.check_business_key(instance.definition.id, instance.business_key)
        check_json("retry step: ", dict(variables or {}))
        transition = self._transition(instance, self.now())
        transition.revive()
        transition.merge(variables)
        if parked(transition):
            transition.wait()
        enter(transition, step_id)
        self._write(transition)
        return instance

    def complete_user_task(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        """Complete an open user task: merge `variables` into its instance and enter the next step.

        A task that a timer has interrupted is still open. Raises `NotFoundError` if none is open.
        """
        instance = self._live(instance_id, step_id, "USER_TASK")
        task = next((entry for entry in instance.user_tasks if entry.step_id == step_id), None)
        if task is None:
            raise NotFoundError("user task not found")
        self._go_on(instance, task, variables)

    def signal_wait(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        """Move on an instance that is parked at a WAIT step, with these variables. Raises `ConflictError`."""
        instance = self._live(instance_id, step_id, "WAIT")
        entries = (entry for entry in instance.history if entry.step_id == step_id and entry.status == "RUNNING")
        parked_at = next(entries, None)
        if parked_at is None:
            raise ConflictError("wait step is not currently parked on the instance")
        self._go_on(instance, parked_at, variables)

    def _live(self, instance_id: str, step_id: str, step_type: str) -> Instance:
        """Return the live instance that a user task or signal names."""
        instance = self._instances.acted_on(instance_id)
        if not instance.live:
            raise ConflictError("instance is in a terminal state")
        if any(step.id == step_id and step.type != step_type for step in instance.definition.steps):
            raise BadRequestError("step type does not match the endpoint")
        return instance

    def _go_on(self, instance: Instance, execution: StepExecution, variables: Mapping[str, Any] | None) -> None:
        check_json("mark step_execution completed: ", dict(variables or {}))
        now = self.now()
        transition = self._transition(instance, now)
        transition.user_tasks = tuple(task for task in transition.user_tasks if task is not execution)
        transition.merge(variables)
        go_on_after(transition, instance.definition.step(execution.step_id))
        if execution.status == "RUNNING":
            execution.status, execution.ended_at = "COMPLETED", now
        self._write(transition)
