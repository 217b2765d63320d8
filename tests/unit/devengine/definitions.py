"""Steps of definitions, as tests write them."""

from typing import Any

END: dict[str, Any] = {"id": "end", "name": "end", "type": "END"}
ORDER: dict[str, Any] = {
    "id": "order",
    "name": "Order",
    "steps": [
        {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "pick", "retryCount": 1, "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ],
}


def step(step_id: str, step_type: str, **fields: Any) -> dict[str, Any]:
    return {"id": step_id, "name": step_id, "type": step_type, **fields}


def task(step_id: str, following: str = "end", **fields: Any) -> dict[str, Any]:
    """A SERVICE_TASK whose job type is its id."""
    return step(step_id, "SERVICE_TASK", jobType=step_id, nextStep=following, **fields)


def change(step_id: str, following: str = "end", **values: Any) -> dict[str, Any]:
    return step(step_id, "TRANSFORMATION", nextStep=following, transformations=values)


def decide(step_id: str, **conditions: str) -> dict[str, Any]:
    """A DECISION; conditions by the steps to which they lead."""
    return step(
        step_id, "DECISION", conditionalNextSteps={condition: target for target, condition in conditions.items()}
    )


def fork(step_id: str, join: str, *branches: str) -> dict[str, Any]:
    return step(step_id, "PARALLEL_GATEWAY", parallelNextSteps=list(branches), joinStep=join)


def join(step_id: str, following: str = "end") -> dict[str, Any]:
    return step(step_id, "JOIN_GATEWAY", nextStep=following)


def timer(target: str, duration: str = "PT72H", *, interrupting: bool = False) -> dict[str, Any]:
    return {"type": "TIMER", "duration": duration, "interrupting": interrupting, "targetStepId": target}


def definition(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "d", "name": "D", "steps": [*steps, END], **fields}
