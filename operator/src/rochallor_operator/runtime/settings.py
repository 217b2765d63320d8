"""The operator's settings: environment variables with the prefix ROCHALLOR_OPERATOR_."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rochallor_operator.errors import StartError
from rochallor_operator.names import KEDA
from rochallor_operator.policy import Policy

_PREFIX = "ROCHALLOR_OPERATOR_"
_NAMESPACE = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


def _names(value: object) -> object:
    """The parts between commas, without duplicates. An empty part stays and is refused: no namespace means all."""
    return tuple(dict.fromkeys(map(str.strip, value.split(",")))) if isinstance(value, str) and value else ()


class Settings(BaseSettings):
    """Each field is the variable ROCHALLOR_OPERATOR_<NAME>; its description says what it must be and what it does."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    worker_image: Annotated[str, Field(min_length=1, description="an image, for workers that name none")] = (
        f"rochallor/rochallor-worker:{version('rochallor-operator')}"
    )
    http_port: Annotated[
        int,
        Field(ge=0, le=65535, description="a port from 0 (any free one) to 65535, for /livez, /readyz and /metrics"),
    ] = 8080
    namespaces: Annotated[
        tuple[Annotated[str, Field(pattern=_NAMESPACE)], ...],
        NoDecode,
        BeforeValidator(_names),
        Field(description="names of namespaces, separated by commas: the only ones to serve"),
    ] = ()
    own_namespace: Annotated[
        str,
        Field(
            pattern=_NAMESPACE,
            description="the name of the namespace of the operator's own ConfigMap, Secret and Lease",
        ),
    ] = "default"
    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([-a-z0-9.]{0,198}[a-z0-9])?$",
            description="1 to 200 characters of a-z, 0-9, '-' and '.': the Lease's name; the ConfigMap is NAME-canary,"
            " the Secret NAME-hash-key",
        ),
    ] = "rochallor-operator"
    template_policy: Annotated[
        Literal["restricted", "baseline", "any"],
        Field(description="restricted, baseline or any: what the pods of resources may ask for"),
    ] = "baseline"
    keda: Annotated[bool, Field(description="true or false; false: no KEDA objects are made")] = True
    pod_monitors: Annotated[bool, Field(description="true or false; false: no PodMonitors are made")] = True
    backlog: Annotated[bool, Field(description="true or false; false: no engine's database is read")] = True
    watch_secrets: Annotated[
        bool, Field(description="true or false; false: a changed Secret is noticed within ten minutes, not at once")
    ] = True
    copy_secrets: Annotated[
        bool,
        Field(
            description="true or false; true: the Secrets that ClusterEngineConnections name are copied from the"
            " operator's own namespace to the workers"
        ),
    ] = False
    leader_election: Annotated[
        bool, Field(description="true or false; true: only one of several operators is active")
    ] = False
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="DEBUG, INFO, WARNING or ERROR")
    ] = "INFO"


def policy(values: Settings) -> Policy:
    """What the settings allow resources to ask for."""
    left_out = frozenset() if values.keda else KEDA
    left_out = left_out if values.pod_monitors else left_out | {"PodMonitor"}
    return Policy(values.template_policy, left_out, values.backlog, values.copy_secrets)


def described() -> str:
    """The help text: each variable with what it must be and its default."""
    switches = dict.fromkeys(("keda", "pod_monitors", "backlog", "watch_secrets"), "true")
    shown = {"namespaces": "all", "copy_secrets": "false", "leader_election": "false"} | switches
    return "\n".join(
        f"  {_PREFIX}{name.upper()}\n      {field.description} (default: {shown.get(name, field.default)})"
        for name, field in Settings.model_fields.items()
    )


def load() -> Settings:
    """Read the environment. Raises StartError, which names the first wrong variable, its value and what it must be."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        allowed = Settings.model_fields[name].description
        variable = _PREFIX + name.upper()
        raise StartError(f"{variable}={first['input']!r} is not valid: must be {allowed}") from error
