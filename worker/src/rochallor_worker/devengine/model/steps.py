"""Steps: what each type does when entered, and what follows it (contract: `workflow.md`, "Steps")."""

from collections.abc import Callable, Mapping, Sequence

from rochallor_worker.devengine.definition import Step
from rochallor_worker.devengine.errors import InternalError
from rochallor_worker.devengine.expressions import ExpressionError, UnsupportedValueError, evaluate, type_name
from rochallor_worker.devengine.model.decision_table import DecisionTableError, decide
from rochallor_worker.devengine.model.transitions import NewJob, Transition
from rochallor_worker.devengine.model.variables import Variables, check_json, evaluated
from rochallor_worker.devengine.records import StepExecution

MOST_ENTRIES = 1000
"""How many steps one call may enter. The engine has no such limit: a loop without a task never ends there."""

_PARKED = {"USER_TASK", "WAIT"}

Following = Sequence[str]
"""The ids of the steps that are entered next, in order."""


def enter(transition: Transition, step_id: str) -> None:
    """Enter a step and those after it, up to the next task, user task or wait, branch by branch.

    Raises `InternalError` where the engine fails the call.
    """
    ahead = [step_id]
    while ahead and transition.moving:
        if len(transition.entries) == MOST_ENTRIES:
            raise InternalError(f"more than {MOST_ENTRIES} steps without a task, a user task or a wait among them")
        step = transition.definition.step(ahead.pop())
        following = _ENTERED[step.type](transition, step, transition.entry(step))
        ahead += reversed(following)


def go_on_after(transition: Transition, step: Step) -> None:
    """Leave a completed task, user task or wait, and enter what follows it."""
    if step.conditional_next_steps:
        transition.leave(step)
        target = _decided(transition, step.conditional_next_steps)
        if target is not None:
            enter(transition, target)
    elif step.next_step:
        transition.leave(step)
        enter(transition, step.next_step)
    elif step.type != "SERVICE_TASK":  # an instance never leaves a SERVICE_TASK without next step
        transition.leave(step)
    if transition.status == "WAITING" and not parked(transition):
        transition.status = "ACTIVE"


def parked(transition: Transition) -> bool:
    """Whether the instance is at a user task or a wait."""
    return any(transition.definition.step(step_id).type in _PARKED for step_id in transition.current_step_ids)


def _task(transition: Transition, step: Step, execution: StepExecution) -> Following:
    transition.arrive(step)
    transition.jobs.append(NewJob(execution, step, transition.variables))
    if step.boundary_events:
        transition.set_timers(step, execution)
    return ()


def _user_task(transition: Transition, step: Step, execution: StepExecution) -> Following:
    transition.user_tasks = (*transition.user_tasks, execution)
    return _wait(transition, step, execution)


def _wait(transition: Transition, step: Step, execution: StepExecution) -> Following:
    transition.arrive(step)
    transition.wait()
    transition.set_timers(step, execution)
    return ()


def _end(transition: Transition, _step: Step, execution: StepExecution) -> Following:
    transition.close(execution)
    transition.complete()
    return ()


def _decision(transition: Transition, step: Step, execution: StepExecution) -> Following:
    transition.arrive(step)
    target = _decided(transition, step.conditional_next_steps or {}, execution)
    if target is None:
        return ()
    transition.close(execution)
    transition.leave(step)
    return (target,)


def _decided(
    transition: Transition, conditions: Mapping[str, str], execution: StepExecution | None = None
) -> str | None:
    """Return the step of the first true condition, in the order of the JSON; without one the instance fails."""
    for condition, target in conditions.items():
        try:
            result = evaluate(condition, transition.variables, transition.now)
        except ExpressionError as error:
            transition.fail(f"expression eval error: {error}", execution)
            return None
        if not isinstance(result, bool):
            transition.fail(f'expression "{condition}": result is {type_name(result)}, not bool', execution)
            return None
        if result:
            return target
    transition.fail("no conditionalNextSteps branch matched (DecisionNoBranchMatched)", execution)
    return None


def _transformation(transition: Transition, step: Step, execution: StepExecution) -> Following:
    """Set variables in the order of the JSON: an expression sees those before it."""
    transition.arrive(step)
    new: Variables = {}
    for name, value in (step.transformations or {}).items():
        try:
            new[name] = evaluated(value, {**transition.variables, **new}, transition.now)
        except ExpressionError as error:
            transition.fail(f'transformation "{name}": expression eval: {error}', execution)
            return ()
        except (UnsupportedValueError, RecursionError) as error:
            raise InternalError(f"transformation: marshal merged vars: {error}") from error
    return _set_variables(transition, step, execution, new, "transformation")


def _decision_table(transition: Transition, step: Step, execution: StepExecution) -> Following:
    transition.arrive(step)
    try:
        outputs = decide(step, transition.variables, transition.now)
    except DecisionTableError as error:
        transition.fail(str(error), execution)
        return ()
    except (UnsupportedValueError, RecursionError) as error:
        raise InternalError(f"decision table: marshal merged vars: {error}") from error
    return _set_variables(transition, step, execution, outputs, "decision table")


def _set_variables(
    transition: Transition, step: Step, execution: StepExecution, variables: Variables, name: str
) -> Following:
    """Merge the variables that a step has set, and leave it; `name` is the engine's for the step in errors."""
    check_json(f"{name}: update variables: ", variables)
    transition.merge(variables)
    transition.close(execution)
    transition.leave(step)
    return (step.next_step,)


def _parallel_gateway(transition: Transition, step: Step, execution: StepExecution) -> Following:
    transition.close(execution)
    return step.parallel_next_steps or ()


def _join_gateway(transition: Transition, step: Step, execution: StepExecution) -> Following:
    """Arrive at a join, which opens when enough first steps of the branches were completed before this transition.

    So it opens too early if a branch has several steps, and never if no branch has a task.
    """
    branches = _branches(transition, step)
    transition.arrive(step)
    transition.close(execution)
    completed = {entry.step_id for entry in transition.instance.history if entry.status == "COMPLETED"}
    if sum(branch in completed for branch in branches) + 1 < len(branches):
        return ()
    transition.leave(step)
    return (step.next_step,)


def _branches(transition: Transition, join: Step) -> list[str]:
    """Return the first steps of the branches that a join ends. Raises `InternalError` without one."""
    for step in transition.definition.steps:
        if step.type == "PARALLEL_GATEWAY" and step.join_step == join.id:
            return step.parallel_next_steps or []
    raise InternalError(f'join step "{join.id}": no matching PARALLEL_GATEWAY found')


_ENTERED: dict[str, Callable[[Transition, Step, StepExecution], Following]] = {
    "SERVICE_TASK": _task,
    "USER_TASK": _user_task,
    "WAIT": _wait,
    "DECISION": _decision,
    "DECISION_TABLE": _decision_table,
    "TRANSFORMATION": _transformation,
    "PARALLEL_GATEWAY": _parallel_gateway,
    "JOIN_GATEWAY": _join_gateway,
    "END": _end,
}
"""What a step of each type does when entered."""
