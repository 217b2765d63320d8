"""Workflow definitions: their shape, and every problem of one (engine.md: "Definition").

The shape is the engine's; of the step types the dev engine runs SERVICE_TASK and END, and says so of the others.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from rochallor_worker.devengine.errors import BadRequestError

STEP_TYPES = frozenset(
    {"SERVICE_TASK", "USER_TASK", "DECISION", "TRANSFORMATION", "WAIT", "PARALLEL_GATEWAY", "JOIN_GATEWAY", "END"}
)
_ID = re.compile(r"[A-Za-z0-9_:\-]+")


class Step(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One step. Fields the dev engine does not run are read only to be named in a refusal."""

    id: str = ""
    name: str = ""
    type: str = ""
    description: str = ""
    next_step: str = ""
    job_type: str = ""
    delegate_class: str = ""
    retry_count: int = 0
    parallel_next_steps: list[str] | None = None
    join_step: str = ""
    conditional_next_steps: dict[str, str] | None = None
    transformations: dict[str, Any] | None = None
    boundary_events: list[Any] | None = None


class Definition(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A definition; its first step is where instances start. The engine assigns `version`, from 1."""

    id: str = ""
    version: int = 0
    name: str = ""
    description: str = ""
    auto_start_next_workflow: bool = False
    next_workflow_id: str = ""
    steps: list[Step] = []
    metadata: dict[str, Any] | None = None

    def step(self, step_id: str) -> Step:
        """Return a step of a valid definition by its id."""
        return next(step for step in self.steps if step.id == step_id)


def check(definition: Definition) -> None:
    """Raise `BadRequestError` with every problem of the definition, if it has one."""
    problems = list(_problems(definition))
    if problems:
        raise BadRequestError("validation error: " + "; ".join(problems))


def _problems(definition: Definition) -> Iterator[str]:
    yield from _id_problems(definition.id)
    if not definition.name:
        yield "name is required"
    if definition.auto_start_next_workflow:
        yield "autoStartNextWorkflow is not supported by the dev engine"
    if not definition.steps:
        yield "steps must not be empty"
        return
    ids = [step.id for step in definition.steps]
    for index, step in enumerate(definition.steps):
        if not step.id:
            yield f"step[{index}] id is required"
            continue
        if step.id in ids[:index]:
            yield f'duplicate step id: "{step.id}"'
        for problem in _step_problems(step, ids):
            yield f'step "{step.id}": {problem}'
    yield from _path_problems(definition.steps)


def _id_problems(definition_id: str) -> Iterator[str]:
    if not definition_id:
        yield "id is required"
    elif len(definition_id) > 256:
        yield f"id must have at most 256 characters, has {len(definition_id)}"
    elif not _ID.fullmatch(definition_id):
        yield f'id "{definition_id}" must match ^[A-Za-z0-9_:\\-]+$'


def _step_problems(step: Step, ids: list[str]) -> Iterator[str]:
    if not step.name:
        yield "name is required"
    if step.type not in STEP_TYPES:
        yield f'unsupported type "{step.type}"'
    elif step.type not in {"SERVICE_TASK", "END"}:
        yield f"type {step.type} is not supported by the dev engine, which runs SERVICE_TASK and END"
    if step.type == "SERVICE_TASK":
        yield from _job_type_problems(step.job_type)
    if step.retry_count < 0:
        yield f"retryCount must not be negative, is {step.retry_count}"
    if step.next_step and step.next_step not in ids:
        yield f'nextStep references unknown step "{step.next_step}"'
    if step.type in {"SERVICE_TASK", "END"}:
        for name, value in (
            ("boundaryEvents", step.boundary_events),
            ("conditionalNextSteps", step.conditional_next_steps),
            ("parallelNextSteps", step.parallel_next_steps),
        ):
            if value:
                yield f"{name} is not supported by the dev engine"


def _job_type_problems(job_type: str) -> Iterator[str]:
    if not job_type:
        yield "jobType is required"
    elif "\0" in job_type:
        yield "jobType must not contain NUL"  # no database takes it as text, and no Kafka as the name of a topic


def _path_problems(steps: list[Step]) -> Iterator[str]:
    """Yield the steps that no path from the first one reaches, and the lack of an END."""
    if any(step.type not in {"SERVICE_TASK", "END"} or not step.id for step in steps):
        return  # already refused; where such steps lead is not known here
    by_id = {step.id: step for step in steps}
    reached: dict[str, Step] = {}
    step: Step | None = steps[0]
    while step is not None and step.id not in reached:
        reached[step.id] = step
        step = by_id.get(step.next_step) if step.type != "END" else None
    for unreached in (step for step in steps if step.id not in reached):
        yield f'step "{unreached.id}" is unreachable from the first step'
    if not any(step.type == "END" for step in reached.values()):
        yield "no END step is reachable from the first step"
