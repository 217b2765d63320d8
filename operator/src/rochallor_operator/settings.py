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
    """WORKER_IMAGE is used for resources that name no image; HTTP_PORT serves /livez, /readyz and /metrics;
    NAMESPACES is a comma-separated list of the only namespaces to serve (default: all); OWN_NAMESPACE and NAME say
    where the operator's own objects are and how they are called; LEADER_ELECTION lets one of several operators work;
    WATCH_LIMIT_SECONDS is how long a change of its own may take to come back by the watch; LOG_LEVEL is INFO.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    worker_image: Annotated[str, Field(min_length=1)] = f"rochallor/rochallor-worker:{version('rochallor-operator')}"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    own_namespace: Annotated[str, Field(min_length=1)] = "default"
    name: Annotated[str, Field(min_length=1, max_length=200)] = "rochallor-operator"
    leader_election: bool = False
    watch_limit_seconds: Annotated[float, Field(ge=1, le=3600)] = 90
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load() -> Settings:
    """Read the environment. Raises StartError, which names the first wrong variable, its value and what is allowed."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        variable = _PREFIX + str(first["loc"][0]).upper()
        raise StartError(f"{variable}={first['input']!r} is wrong: {first['msg']}") from error
