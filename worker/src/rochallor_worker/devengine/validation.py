"""The problems of a definition, in the engine's wording and order (contract: `workflow.md`, "Definition JSON")."""

import re
from collections.abc import Iterable, Iterator, Mapping

from rochallor_worker.devengine.definition import HIT_POLICIES, BoundaryEvent, DecisionTable, Definition, Step
from rochallor_worker.devengine.errors import BadRequestError
from rochallor_worker.devengine.records import Generation

STEP_TYPES = frozenset(
    {"SERVICE_TASK", "USER_TASK", "DECISION", "TRANSFORMATION", "WAIT", "PARALLEL_GATEWAY", "JOIN_GATEWAY", "END"}
)
_ID = re.compile(r"[A-Za-z0-9_:\-]+")
_WITH_NEXT_STEP = STEP_TYPES - {"DECISION", "PARALLEL_GATEWAY", "END"} | {"DECISION_TABLE"}
_WITHOUT_NEXT_STEP = {"SERVICE_TASK", "USER_TASK"}
"""Types whose nextStep is optional."""


def check(definition: Definition, generation: Generation = "fenced") -> None:
    """Raise `BadRequestError` with every problem of the definition, if there are any."""
    if generation == "A" and (newer := next(_newer_fields(definition), None)):
        raise BadRequestError(f'parse error: parse: json: unknown field "{newer}"')
    if problems := list(_problems(definition, generation)):
        raise BadRequestError("\n  ".join(["validation error: validation errors:", *problems]))


def _newer_fields(definition: Definition) -> Iterator[str]:
    """Yield the fields that an engine of generation A does not know."""
    for step in definition.steps:
        values = {
            "decisionTable": step.decision_table,
            "hitPolicy": step.hit_policy or None,
            "outputs_schema": step.outputs_schema,
        }
        yield from (name for name, value in values.items() if value is not None)
    if definition.input_schema is not None:
        yield "input_schema"


def _problems(definition: Definition, generation: Generation) -> Iterator[str]:
    yield from _id_problems(definition.id)
    if not definition.name:
        yield "name is required"
    if not definition.steps:
        yield "steps must not be empty"
    if definition.auto_start_next_workflow and not definition.next_workflow_id:
        yield "nextWorkflowId is required when autoStartNextWorkflow is true"
    if not definition.steps:
        return
    steps: dict[str, Step] = {}
    for index, step in enumerate(definition.steps):
        if not step.id:
            yield f"step[{index}] id is required"
        elif step.id in steps:
            yield f'duplicate step id: "{step.id}"'
        else:
            steps[step.id] = step
    for step in steps.values():
        yield from _step_problems(step, steps, generation)
    yield from _path_problems(definition.steps[0], steps)


def _id_problems(definition_id: str) -> Iterator[str]:
    if not definition_id:
        yield "id is required"
    elif (length := len(definition_id.encode())) > 256:
        yield f"id must be ≤ 256 characters, got {length}"
    elif not _ID.fullmatch(definition_id):
        yield f'id "{definition_id}" must match ^[A-Za-z0-9_:\\-]+$'


def _step_problems(step: Step, steps: Mapping[str, Step], generation: Generation) -> Iterator[str]:
    known = STEP_TYPES if generation == "A" else STEP_TYPES | {"DECISION_TABLE"}
    prefix = f'step "{step.id}"'
    if not step.name:
        yield f"{prefix}: name is required"
    if step.type in known:
        yield from (f"{prefix} ({step.type}): {line}" for line in _type_problems(step, generation))
    else:
        yield f'{prefix}: unsupported type "{step.type}"'
    for field, target in _used_references(step):
        if target not in steps:
            yield f'{prefix} {field} references unknown step "{target}"'
    for index, event in enumerate(step.boundary_events or ()):
        yield from _event_problems(f"{prefix} boundaryEvents[{index}]", event, steps)


def _type_problems(step: Step, generation: Generation) -> Iterator[str]:
    """Yield the fields that a step of this type lacks, or must not have."""
    if step.type == "SERVICE_TASK" and not step.job_type and generation == "A":
        yield "jobType is required"
    if step.type == "SERVICE_TASK" and "\0" in step.job_type:
        yield "jobType must not contain NUL"  # Kafka does not allow it in the name of a topic
    if step.type == "DECISION_TABLE":
        yield from _table_problems(step)
    if step.type in _WITH_NEXT_STEP - _WITHOUT_NEXT_STEP and not step.next_step:
        yield "nextStep is required"
    if step.type == "DECISION" and not step.conditional_next_steps:
        yield "conditionalNextSteps must not be empty"
    if step.type == "TRANSFORMATION" and not step.transformations:
        yield "transformations must not be empty"
    if step.type == "PARALLEL_GATEWAY":
        if len(step.parallel_next_steps or ()) < 2:
            yield "parallelNextSteps must have at least 2 entries"
        if not step.join_step:
            yield "joinStep is required"


def _table_problems(step: Step) -> Iterator[str]:
    """Yield the problems of a decision table: the rules are from documents, the wording is the dev engine's own."""
    table = step.decision_table or DecisionTable()
    if not table.rules:
        yield "decisionTable.rules must not be empty"
    if step.hit_policy and step.hit_policy not in HIT_POLICIES:
        yield f'unsupported hitPolicy "{step.hit_policy}"'
    if table.default_next_step:
        yield "decisionTable.defaultNextStep is not supported"
    yield from (
        f"decisionTable.rules[{index}].then is not supported"
        for index, rule in enumerate(table.rules or ())
        if rule.then
    )
    others = {
        "jobType": step.job_type,
        "retryCount": step.retry_count,
        "delegateClass": step.delegate_class,
        "conditionalNextSteps": step.conditional_next_steps,
        "transformations": step.transformations,
        "parallelNextSteps": step.parallel_next_steps,
        "joinStep": step.join_step,
    }
    yield from (f"{field} is not a field of this type" for field, value in others.items() if value)


def _used_references(step: Step) -> Iterator[tuple[str, str]]:
    """Yield the fields that name other steps, if the step's type uses them."""
    if step.type in _WITH_NEXT_STEP and step.next_step:
        yield "nextStep", step.next_step
    if step.type == "DECISION":
        for target in (step.conditional_next_steps or {}).values():
            yield "conditionalNextSteps target", target
    if step.type == "PARALLEL_GATEWAY":
        for target in step.parallel_next_steps or ():
            yield "parallelNextSteps", target
        if step.join_step:
            yield "joinStep", step.join_step


def _event_problems(prefix: str, event: BoundaryEvent, steps: Mapping[str, Step]) -> Iterator[str]:
    if event.type != "TIMER":
        yield f'{prefix}: unsupported type "{event.type}" (only TIMER is in scope)'
    if not event.duration:
        yield f"{prefix}: duration is required for TIMER events"
    if not event.target_step_id:
        yield f"{prefix}: targetStepId is required"
    elif event.target_step_id not in steps:
        yield f'{prefix}.targetStepId references unknown step "{event.target_step_id}"'


def _path_problems(first: Step, steps: Mapping[str, Step]) -> Iterator[str]:
    """Yield the steps that are unreachable from the first one, and the lack of an END."""
    reached: dict[str, Step] = {}
    ahead = [first]
    while ahead:
        step = ahead.pop()
        if step.id not in reached:
            reached[step.id] = step
            ahead += [steps[target] for target in _edges(step) if target in steps]
    yield from (f'step "{step_id}" is unreachable from the first step' for step_id in steps if step_id not in reached)
    if not any(step.type == "END" for step in reached.values()):
        yield "no END step is reachable from the first step"


def _edges(step: Step) -> Iterable[str]:
    """Return all steps that a step names, whether its type uses the field or not."""
    return (
        step.next_step,
        step.join_step,
        *(step.parallel_next_steps or ()),
        *(step.conditional_next_steps or {}).values(),
        *(event.target_step_id for event in step.boundary_events or ()),
    )
