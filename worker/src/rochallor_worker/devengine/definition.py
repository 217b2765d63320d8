"""Workflow definitions: their shape (engine.md: "Definition"; contract: `workflow.md`)."""

from typing import Any, ClassVar

import msgspec

HIT_POLICIES = ("U", "F", "A", "R", "C", "C+", "C#", "C>", "C<")
"""Of decision tables, as in DMN: unique, first, any, rule order, collect. The default is U."""


def _name(field: str) -> str:
    """Return the name of a field over REST: camelCase, except for the schemas."""
    first, *rest = field.split("_")
    return field if field.endswith("_schema") else first + "".join(map(str.title, rest))


class BoundaryEvent(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A timer on a step."""

    go_name: ClassVar[str] = "definition.BoundaryEvent"
    type: str = ""
    duration: str = ""
    interrupting: bool = False
    target_step_id: str = ""


class DecisionTableRule(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A rule: its conditions by column, and its outputs by variable. The engine refuses `then`."""

    go_name: ClassVar[str] = "definition.DecisionTableRule"
    when: dict[str, str] | None = None
    then: str = ""
    outputs: dict[str, Any] | None = None


class DecisionTable(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """The rules of a DECISION_TABLE. The engine refuses `default_next_step`."""

    go_name: ClassVar[str] = "definition.DecisionTable"
    rules: list[DecisionTableRule] | None = None
    default_next_step: str = ""


class Step(msgspec.Struct, rename=_name, omit_defaults=True, forbid_unknown_fields=True):
    """One step. An empty field counts as not given."""

    go_name: ClassVar[str] = "definition.WorkflowStep"
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
    boundary_events: list[BoundaryEvent] | None = None
    decision_table: DecisionTable | None = None
    hit_policy: str = ""
    outputs_schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.parallel_next_steps = self.parallel_next_steps or None
        self.conditional_next_steps = self.conditional_next_steps or None
        self.transformations = self.transformations or None
        self.boundary_events = self.boundary_events or None


class Definition(msgspec.Struct, rename=_name, omit_defaults=True, forbid_unknown_fields=True):
    """A definition; instances start at its first step. The engine assigns `version`, from 1."""

    go_name: ClassVar[str] = "definition.WorkflowDefinition"
    strict: ClassVar[bool] = True
    id: str = ""
    version: int = 0
    name: str = ""
    description: str = ""
    auto_start_next_workflow: bool = False
    next_workflow_id: str = ""
    steps: list[Step] = []
    metadata: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.metadata = self.metadata or None

    def step(self, step_id: str) -> Step:
        """Return a step by its id. Raises `LookupError` if there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise LookupError(f"no step {step_id!r}")
