"""The sections of a spec as frozen models with the CRD's field names, and its durations."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from rochallor_operator.names import Manifest

_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Length of a duration string such as 500ms, 30s, 10m or 24h. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration: write a whole number and ms, s, m or h, such as 500ms")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def _duration(value: str) -> str:
    seconds(value)
    return value


Duration = Annotated[str, AfterValidator(_duration)]
"""A duration stays the string that the user wrote."""


class Section(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class SecretKey(Section):
    """One key of a Secret."""

    name: str
    key: str


class Tls(Section):
    """Names of Secrets: the CA is the key ca.crt, the client certificate the keys tls.crt and tls.key. Or paths of
    files that volumes of the template bring."""

    ca_secret: str | None = None
    client_cert_secret: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class Header(Section):
    """A header sent with every request."""

    name: str
    value: str


class OAuth(Section):
    """A client of a token server. credentials_secret has the keys clientId and clientSecret."""

    token_url: str
    credentials_secret: str
    scope: str | None = None
    audience: str | None = None


class Engine(Section):
    """The engine's address, and the credentials that a gateway in front of it requires."""

    url: str | None = None
    grpc_target: str | None = None
    tls: Tls = Tls()
    token_secret: SecretKey | None = None
    oauth: OAuth | None = None
    headers: tuple[Header, ...] = ()


class KafkaOAuth(Section):
    """The token server of the mechanism OAUTHBEARER."""

    token_url: str
    scope: str | None = None
    extensions: dict[str, str] = Field(default_factory=dict)


class NewTopics(Section):
    """How workers create topics that are missing when they start."""

    partitions: int
    replication_factor: int


class Kafka(Section):
    """The source of jobs with transport kafka. credentials_secret has the keys username and password, or with
    OAUTHBEARER clientId and clientSecret; properties are further ones of the workers' client."""

    bootstrap_servers: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    credentials_secret: str | None = None
    oauth: KafkaOAuth | None = None
    tls: Tls = Tls()
    dedup_window: Duration = "10m"
    dead_letter: bool = False
    group_protocol: Literal["classic", "consumer"] = "classic"
    create_topics: NewTopics | None = None
    properties: dict[str, str] = Field(default_factory=dict)


class Limit(Section):
    """The limits of a job type: jobs that run at once in a pod, and runs that begin per second in each pod, or with the
    scope resource in all of them together."""

    job_type: str
    parallelism: int | None = None
    per_second: int | float | None = None
    scope: Literal["pod", "resource"] = "pod"
    breaker: bool = True


class Prometheus(Section):
    """The Prometheus that KEDA queries for the workers' metrics."""

    address: str


class Backlog(Section):
    """A query on the engine's database that KEDA scales on as well; target is its value per pod."""

    dsn_secret: SecretKey
    query: str
    target: int


class Autoscaling(Section):
    """The bounds and the metric of an autoscaler. target_utilization is the percentage of busy slots; with
    pod_deletion_cost, idle pods are removed before busy ones."""

    min_replicas: int = 1
    max_replicas: int
    target_utilization: int = 70
    provider: Literal["hpa", "keda"] = "hpa"
    kafka_lag_threshold: int | None = None
    prometheus: Prometheus | None = None
    backlog: Backlog | None = None
    behavior: dict[str, Manifest] | None = None
    pod_deletion_cost: bool = False


class Metrics(Section):
    """A PodMonitor, with labels by which a Prometheus selects it."""

    pod_monitor: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    interval: Duration | None = None


class DisruptionBudget(Section):
    """How many pods a node drain may stop at the same time: a number or a percentage."""

    max_unavailable: int | str
