"""The sections of a spec as frozen models with the CRD's field names, and its durations."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
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


def wrong_field(error: ValidationError, path: str) -> str:
    """A sentence that names the first wrong field of what is at a path."""
    first = error.errors(include_url=False)[0]
    where = ".".join([path, *map(str, first["loc"])])
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


class EngineRef(Section):
    """The connection that a resource names."""

    name: str
    kind: Literal["EngineConnection", "ClusterEngineConnection"] = "EngineConnection"


class SecretKey(Section):
    """One key of a Secret."""

    name: str
    key: str


class TlsSecrets(Section):
    """Names of Secrets: the CA is the key ca.crt, the client certificate the keys tls.crt and tls.key."""

    ca_secret: str | None = None
    client_cert_secret: str | None = None


class Tls(TlsSecrets):
    """What pods use: Secrets, or paths of files that volumes of the template bring."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def is_for(self, token_url: str) -> bool:
        """Whether it is no more than the CA of a token server."""
        return token_url.startswith("https://") and not (self.client_cert_secret or self.cert_file)


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
    """The engine's address, and the credentials that a gateway in front of it requires. database_secret has the
    connection string of its database, for an account that may only read."""

    url: str | None = None
    grpc_target: str | None = None
    tls: Tls = Tls()
    token_secret: SecretKey | None = None
    database_secret: SecretKey | None = None
    oauth: OAuth | None = None
    headers: tuple[Header, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Engine:
        """A worker and its connection may each be right, and not go together."""
        clear = self.url is not None and not self.url.startswith("https://")
        if clear and _needs_tls(self.tls, self.oauth):
            raise ValueError("write url with https://, or remove tls; without TLS, only a token server needs a CA")
        if self.oauth is not None and self.token_secret is not None:
            raise ValueError("remove tokenSecret or oauth; a request carries one token")
        return self


class KafkaOAuth(Section):
    """The token server of the mechanism OAUTHBEARER."""

    token_url: str
    scope: str | None = None
    extensions: dict[str, str] = Field(default_factory=dict)


def _needs_tls(tls: Tls, oauth: OAuth | KafkaOAuth | None) -> bool:
    """Whether certificates are for more than a token server."""
    return tls != Tls() and not (oauth is not None and tls.is_for(oauth.token_url))


class NewTopics(Section):
    """How workers create topics that are missing when they start."""

    partitions: int
    replication_factor: int


class Brokers(Section):
    """How Kafka is reached. credentials_secret has the keys username and password, or with OAUTHBEARER clientId and
    clientSecret; properties are further ones of the workers' client."""

    bootstrap_servers: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    credentials_secret: str | None = None
    oauth: KafkaOAuth | None = None
    tls: Tls = Tls()
    properties: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """A worker and its connection may each be right, and not go together."""
        clear = self.security_protocol not in {"SSL", "SASL_SSL"}
        if clear and _needs_tls(self.tls, self.oauth):
            raise ValueError(
                "write securityProtocol SSL or SASL_SSL, or remove tls; without TLS, only a token server needs a CA"
            )
        return self


class Kafka(Brokers):
    """The source of jobs with transport kafka."""

    dedup_window: Duration = "10m"
    dead_letter: bool = False
    group_protocol: Literal["classic", "consumer"] = "classic"
    create_topics: NewTopics | None = None


class Limit(Section):
    """The limits of a job type: jobs that run at once in a pod, and runs that begin per second in each pod, or with the
    scope resource in all of them together."""

    job_type: str
    parallelism: int | None = None
    per_second: int | float | None = None
    scope: Literal["pod", "resource"] = "pod"
    breaker: bool = True


class Prometheus(Section):
    """The Prometheus that KEDA queries for the workers' metrics, and the credentials that it requires.
    credentials_secret has the keys username and password."""

    address: str
    tls: TlsSecrets = TlsSecrets()
    token_secret: SecretKey | None = None
    credentials_secret: str | None = None
    headers: tuple[Header, ...] = ()

    @property
    def has_credentials(self) -> bool:
        """Whether KEDA needs a Secret for it."""
        return bool(self.token_secret or self.credentials_secret) or self.tls != TlsSecrets()


class Backlog(Section):
    """The jobs in the engine's database, on which it scales as well: waiting and running ones, or what the query
    returns. target is their number per pod, by default parallelism."""

    query: str | None = None
    target: int | None = None


class AuthenticationRef(Section):
    """KEDA's object with the credentials of a trigger."""

    name: str
    kind: Literal["TriggerAuthentication", "ClusterTriggerAuthentication"] = "TriggerAuthentication"


class Trigger(Section):
    """A trigger that KEDA gets as it is, after the operator's own."""

    type: str
    name: str | None = None
    metadata: dict[str, str]
    metric_type: Literal["AverageValue", "Value", "Utilization"] | None = None
    use_cached_metrics: bool = False
    authentication_ref: AuthenticationRef | None = None


class Autoscaling(Section):
    """The bounds and the metrics of an autoscaler. target_utilization is the percentage of busy slots, target_wait how
    long jobs wait on average; with pod_deletion_cost, idle pods are removed before busy ones."""

    min_replicas: int = 1
    max_replicas: int
    target_utilization: int = 70
    target_wait: Duration | None = None
    provider: Literal["hpa", "keda"] = "hpa"
    kafka_lag_threshold: int | None = None
    prometheus: Prometheus | None = None
    backlog: Backlog | None = None
    triggers: tuple[Trigger, ...] = ()
    behavior: dict[str, Manifest] | None = None
    pod_deletion_cost: bool = False


class Metrics(Section):
    """A PodMonitor, with labels by which a Prometheus selects it."""

    pod_monitor: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    interval: Duration | None = None


class Telemetry(Section):
    """Where the workers' traces go; sample_ratio is the share of instances that are traced."""

    endpoint: str
    sample_ratio: int | float = 1


class ServiceAccount(Section):
    """The account that the pods run as, with annotations by which clouds give pods an identity."""

    annotations: dict[str, str] = Field(default_factory=dict)


class DisruptionBudget(Section):
    """How many pods a node drain may stop at the same time: a number or a percentage."""

    max_unavailable: int | str


class Step(Section):
    """A step of a canary rollout: a share of the slots, such as 10%, and the least time before the next step."""

    share: str
    pause: Duration


class Gate(Section):
    """What a new version must prove in each step. Ratios are percentages of the jobs that ended, such as 5%."""

    min_jobs: int = 100
    max_failure_ratio: str = "20%"
    worse_than_stable_by: str = "5%"
    max_handler_p95: Annotated[Duration | None, Field(alias="maxHandlerP95")] = None


DEFAULT_STEPS: Final = (Step(share="10%", pause="5m"), Step(share="50%", pause="5m"))


class RolloutPlan(Section):
    """How a new version reaches the pods."""

    strategy: Literal["RollingUpdate", "Canary"] = "RollingUpdate"
    steps: tuple[Step, ...] = ()
    gate: Gate = Gate()
    on_failure: Literal["Rollback", "Pause"] = "Rollback"

    @property
    def canary(self) -> bool:
        """Whether a few pods try a new version first."""
        return self.strategy == "Canary"

    @property
    def chosen_steps(self) -> tuple[Step, ...]:
        """The steps, at least one."""
        return self.steps or DEFAULT_STEPS
