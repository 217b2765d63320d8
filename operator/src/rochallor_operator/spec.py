"""A RochallorWorker as frozen, validated values.

The API server has already checked the resource against the CRD (crds/), whose rules are the source. What is checked
again here is only what the rest of the code relies on, so that a looser CRD ends in a condition and not in a traceback.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import Manifest  # noqa: TC001 (pydantic reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVED_ENV: Final = frozenset(
    {
        "ROCHALLOR_HANDLERS",
        "ROCHALLOR_TRANSPORT",
        "ROCHALLOR_ENGINE_URL",
        "ROCHALLOR_JOB_TYPES",
        "ROCHALLOR_PARALLELISM",
        "ROCHALLOR_POLL_INTERVAL",
        "ROCHALLOR_HANDLER_TIMEOUT",
        "ROCHALLOR_DRAIN_TIMEOUT",
        "ROCHALLOR_WORKER_ID",
        "ROCHALLOR_METRICS_PORT",
    }
)
"""Variables that mirror a field of the spec: a user's value would contradict it. The CRD has the same list."""

_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


def seconds(duration: str) -> float:
    """Length of a duration string such as 500ms, 30s or 10m. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration: write a whole number and ms, s or m, such as 500ms")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def _duration(value: str) -> str:
    seconds(value)
    return value


def _not_reserved(variables: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    for variable in variables:
        if variable.get("name") in RESERVED_ENV:
            raise ValueError(f"{variable['name']} is set by the operator from the spec: write the spec field instead")
    return variables


Duration = Annotated[str, AfterValidator(_duration)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class Engine(_Part):
    """Where the engine is."""

    url: str


class ConfigMapHandlers(_Part):
    """Handlers in a ConfigMap; module is file:registry."""

    name: str
    module: str

    @property
    def key(self) -> str:
        """The ConfigMap's key that must hold the module."""
        return self.module.partition(":")[0] + ".py"


class Handlers(_Part):
    """Where the handlers are: exactly one of the two is set."""

    module: str | None = None
    config_map: ConfigMapHandlers | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Handlers:
        if (self.module is None) == (self.config_map is None):
            raise ValueError("write exactly one of module and configMap")
        return self


class Spec(_Part):
    """spec of the resource. Durations stay strings (500ms, 30s); the other units are in the CRD."""

    engine: Engine
    transport: Literal["rest"] = "rest"
    job_types: Annotated[tuple[str, ...], Field(min_length=1)]
    parallelism: int = 64
    poll_interval: Duration = "500ms"
    handler_timeout: Duration | None = None
    drain_timeout: Duration = "25s"
    handlers: Handlers
    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[Manifest, ...] = ()
    replicas: int = 1
    suspend: bool = False
    resources: Manifest = Field(default_factory=dict)
    env: Annotated[tuple[Manifest, ...], AfterValidator(_not_reserved)] = ()
    env_from: tuple[Manifest, ...] = ()


class Worker(BaseModel):
    """One resource: who it is and what it asks for."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    name: str
    uid: str
    generation: int
    spec: Spec

    @property
    def replicas(self) -> int:
        """Pods wanted now."""
        return 0 if self.spec.suspend else self.spec.replicas


def parse(resource: Mapping[str, Any]) -> Worker:
    """The resource as values. Raises InvalidSpecError, whose text names the first wrong field."""
    metadata = resource["metadata"]
    try:
        spec = Spec.model_validate(resource.get("spec", {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(["spec", *map(str, first["loc"])])
        raise InvalidSpecError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
    return Worker(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        spec=spec,
    )
