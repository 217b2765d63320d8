"""The operator's settings: environment variables with the prefix ROCHALLOR_OPERATOR_."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rochallor_operator.errors import StartError

_PREFIX = "ROCHALLOR_OPERATOR_"


def _names(value: object) -> object:
    return tuple(value.split(",")) if isinstance(value, str) and value else ()


class Settings(BaseSettings):
    """Each field is the variable ROCHALLOR_OPERATOR_<NAME>; its description says what it is for."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    worker_image: Annotated[str, Field(min_length=1, description="image of the workers that name none")] = (
        f"rochallor/rochallor-worker:{version('rochallor-operator')}"
    )
    http_port: Annotated[int, Field(ge=0, le=65535, description="port of /livez, /readyz and /metrics")] = 8080
    namespaces: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(_names),
        Field(description="the only namespaces to serve, separated by commas"),
    ] = ()
    own_namespace: Annotated[
        str, Field(min_length=1, description="where the operator's own ConfigMap and Lease are")
    ] = "default"
    name: Annotated[
        str, Field(min_length=1, max_length=200, description="name of the Lease; the ConfigMap is NAME-canary")
    ] = "rochallor-operator"
    leader_election: Annotated[bool, Field(description="true: of several operators one works")] = False
    watch_limit_seconds: Annotated[
        float, Field(ge=1, le=3600, description="seconds that the operator's own change may take to come back")
    ] = 90
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="DEBUG, INFO, WARNING or ERROR")
    ] = "INFO"


def described() -> str:
    """Each variable with what it is for and its default, for people."""
    shown = {"namespaces": "all", "leader_election": "false"}
    return "\n".join(
        f"  {_PREFIX}{name.upper()}\n      {field.description} (default: {shown.get(name, field.default)})"
        for name, field in Settings.model_fields.items()
    )


def load() -> Settings:
    """Read the environment. Raises StartError, which names the first wrong variable, its value and what is allowed."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        variable = _PREFIX + str(first["loc"][0]).upper()
        raise StartError(f"{variable}={first['input']!r} is wrong: {first['msg']}") from error
