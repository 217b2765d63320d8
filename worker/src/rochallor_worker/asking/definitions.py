"""The steps of definitions, as far as questions need them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from rochallor_worker.asking.calls import each
from rochallor_worker.engine.client import EngineClient, Instance
from rochallor_worker.errors import NotFound

Steps = dict[str, "Step"]
"""By id."""
Version = tuple[str, int]
"""A definition's id and version."""


class Timer(msgspec.Struct, frozen=True):
    """A timer of a step."""

    duration: str = ""


class Step(msgspec.Struct, frozen=True, rename="camel"):
    """One step of a definition."""

    id: str
    type: str = ""
    job_type: str = ""
    next_step: str = ""
    conditional_next_steps: dict[str, str] | None = None
    boundary_events: list[Timer] | None = None

    @property
    def jobs_of(self) -> str:
        """The type of its jobs; nothing if it has none. Without `jobType` it is the step's id (engine.md)."""
        return (self.job_type or self.id) if self.type == "SERVICE_TASK" else ""

    @property
    def goes_on(self) -> bool:
        """Whether another step follows when it is done."""
        return bool(self.next_step or self.conditional_next_steps)

    @property
    def timers(self) -> list[str]:
        """The durations of its timers, as the definition has them."""
        return [timer.duration for timer in self.boundary_events or ()]


class _Outline(msgspec.Struct):
    steps: list[Step] = []


def steps_of(definition: dict[str, Any]) -> Steps:
    """Return a definition's steps; none if the answer has none, as over gRPC (engine.md: GetDefinition)."""
    try:
        return {step.id: step for step in msgspec.convert(definition, _Outline).steps}
    except msgspec.ValidationError:
        return {}


async def definitions_of(engine: EngineClient, instances: Iterable[Instance]) -> dict[Version, Steps]:
    """Return the steps of the instances' definitions, each asked for once. An unknown one has none."""
    versions = {(one.definition_id, one.definition_version) for one in instances}

    async def look(version: Version) -> tuple[Version, Steps]:
        try:
            return version, steps_of(await engine.get_definition(*version))
        except NotFound:
            return version, {}

    return dict(await each(look, sorted(versions)))
