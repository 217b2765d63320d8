"""A RochallorWorker as frozen, validated values.

The API server has already checked the resource against the CRD (crds/), whose rules are the source. Only what
the rest of the code relies on is checked again here, so that a looser CRD ends in a condition and not in a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import Manifest
from rochallor_operator.spec.sections import (
    Autoscaling,
    DisruptionBudget,
    Duration,
    Engine,
    EngineRef,
    Kafka,
    Limit,
    Metrics,
    RolloutPlan,
    Section,
    ServiceAccount,
    Telemetry,
    Tls,
    seconds,
    wrong_field,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVED_ENV: Final = frozenset(
    f"ROCHALLOR_{name}"
    for name in (
        "HANDLERS",
        "TRANSPORT",
        "OUTCOME_TRANSPORT",
        "ENGINE_URL",
        "ENGINE_GRPC_TARGET",
        "ENGINE_TOKEN_FILE",
        "ENGINE_OAUTH_TOKEN_URL",
        "ENGINE_OAUTH_CLIENT_ID_FILE",
        "ENGINE_OAUTH_CLIENT_SECRET_FILE",
        "ENGINE_OAUTH_SCOPE",
        "ENGINE_OAUTH_AUDIENCE",
        "ENGINE_HEADERS",
        "ENGINE_CA_FILE",
        "ENGINE_CERT_FILE",
        "ENGINE_KEY_FILE",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SECURITY_PROTOCOL",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_USERNAME_FILE",
        "KAFKA_SASL_PASSWORD_FILE",
        "KAFKA_OAUTH_TOKEN_URL",
        "KAFKA_OAUTH_CLIENT_ID_FILE",
        "KAFKA_OAUTH_CLIENT_SECRET_FILE",
        "KAFKA_OAUTH_SCOPE",
        "KAFKA_OAUTH_EXTENSIONS",
        "KAFKA_GROUP_PROTOCOL",
        "KAFKA_CREATE_TOPICS",
        "KAFKA_PROPERTIES",
        "KAFKA_CA_FILE",
        "KAFKA_CERT_FILE",
        "KAFKA_KEY_FILE",
        "KAFKA_DEDUP_WINDOW",
        "KAFKA_DEAD_LETTER",
        "JOB_TYPES",
        "PARALLELISM",
        "LIMITS",
        "PODS_FILE",
        "POLL_INTERVAL",
        "LEASE",
        "HANDLER_TIMEOUT",
        "DRAIN_TIMEOUT",
        "JOURNAL_DIR",
        "WORKER_ID",
        "METRICS_PORT",
    )
)
"""Variables that mirror a field of the spec: a user's value would contradict it. The CRD has the same list."""

DEFAULT_LEASE: Final = "30s"
"""The fixed lease of an engine that can't renew leases, and the lease that a worker asks for by default."""


def _not_reserved(variables: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    for variable in variables:
        name = variable.get("name")
        if not isinstance(name, str):
            raise ValueError("each variable needs its name")
        if name in RESERVED_ENV:
            raise ValueError(f"{name} is set by the operator from the spec: write the spec field instead")
    return variables


class ConfigMapHandlers(Section):
    """Handlers in a ConfigMap; module is file:registry."""

    name: str
    module: str

    @property
    def key(self) -> str:
        """The ConfigMap's key that must hold the module."""
        return self.module.partition(":")[0] + ".py"


class Handlers(Section):
    """The location of the handlers: exactly one of the two is set."""

    module: str | None = None
    config_map: ConfigMapHandlers | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Handlers:
        if (self.module is None) == (self.config_map is None):
            raise ValueError("write exactly one of module and configMap")
        return self


class Spec(Section):
    """The resource's spec. Durations stay strings (500ms, 30s); the CRD gives the units of the other fields."""

    engine_ref: EngineRef | None = None
    engine: Engine
    transport: Literal["rest", "grpc", "kafka"] = "rest"
    outcome_transport: Literal["rest", "grpc"] | None = None
    kafka: Kafka | None = None
    job_types: Annotated[tuple[str, ...], Field(min_length=1)]
    parallelism: int = 64
    limits: tuple[Limit, ...] = ()
    poll_interval: Duration = "500ms"
    lease: Duration = DEFAULT_LEASE
    handler_timeout: Duration | None = None
    drain_timeout: Duration = "25s"
    handlers: Handlers
    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[Manifest, ...] = ()
    replicas: int = 1
    autoscaling: Autoscaling | None = None
    rollout: RolloutPlan = RolloutPlan()
    max_surge: int | str = "25%"
    max_unavailable: int | str = 0
    min_ready_seconds: int = 10
    progress_deadline_seconds: int = 600
    suspend: bool = False
    disruption_budget: DisruptionBudget | None = None
    disruption_shield: Duration | None = None
    metrics: Metrics = Metrics()
    telemetry: Telemetry | None = None
    service_account: ServiceAccount = ServiceAccount()
    journal: bool = True
    resources: Manifest = Field(default_factory=dict)
    env: Annotated[tuple[Manifest, ...], AfterValidator(_not_reserved)] = ()
    env_from: tuple[Manifest, ...] = ()
    template: Manifest = Field(default_factory=dict)

    @property
    def may_outlive_lease(self) -> bool:
        """Whether handlers may outlive a lease that can't be renewed. Timeouts set in their code are not known here."""
        timeout = self.handler_timeout
        return self.transport != "kafka" and timeout is not None and seconds(timeout) >= seconds(DEFAULT_LEASE)

    @property
    def counts_pods(self) -> bool:
        """Whether a limit is of all pods together, so that each pod must know how many there are."""
        return any(limit.scope == "resource" for limit in self.limits)

    @property
    def has_breakers(self) -> bool:
        """Whether a job type has a breaker. What the handlers' code says about it is not known here."""
        return not set(self.job_types) <= {limit.job_type for limit in self.limits if not limit.breaker}

    @model_validator(mode="after")
    def _reachable(self) -> Spec:
        if (self.transport == "kafka") != (self.kafka is not None):
            raise ValueError("write kafka with transport kafka, and only then")
        reached_over = (self.outcome_transport or "rest") if self.transport == "kafka" else self.transport
        if reached_over == "rest" and self.engine.url is None:
            raise ValueError("write engine.url: the engine is reached over REST")
        if reached_over == "grpc" and self.engine.grpc_target is None:
            raise ValueError("write engine.grpcTarget: the engine is reached over gRPC")
        return self

    @model_validator(mode="after")
    def _measurable(self) -> Spec:
        scaling = self.autoscaling
        if scaling is None:
            return self
        if scaling.backlog is not None and self.engine.database_secret is None:
            raise ValueError(
                "write engine.databaseSecret: autoscaling.backlog counts the jobs in the engine's database"
            )
        scaled_on = scaling.prometheus or scaling.backlog or scaling.triggers or self.kafka
        if scaling.provider == "keda" and not scaled_on:
            raise ValueError("write autoscaling.prometheus, backlog or triggers: KEDA scales on them")
        if scaling.provider == "keda" and scaling.target_wait is not None and scaling.prometheus is None:
            raise ValueError("write autoscaling.prometheus: KEDA reads there how long jobs wait")
        if self.kafka is not None and scaling.prometheus is not None:
            brokers = self.kafka.credentials_secret or self.kafka.tls != Tls()
            if brokers and scaling.prometheus.has_credentials:
                raise ValueError(
                    "remove the credentials of autoscaling.prometheus: KEDA would use them for Kafka too; write a"
                    " trigger with an authenticationRef in autoscaling.triggers instead of targetWait"
                )
        return self


class Worker(BaseModel):
    """One resource: its identity and its spec."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    name: str
    uid: str
    generation: int
    spec: Spec
    database_namespace: str | None = None
    """Where engine.databaseSecret is, None for the worker's own namespace."""

    @property
    def autoscaling(self) -> Autoscaling | None:
        """The autoscaler wanted now; None while suspended."""
        return None if self.spec.suspend else self.spec.autoscaling

    @property
    def replicas(self) -> int | None:
        """Pods wanted now; None when an autoscaler decides."""
        if self.spec.suspend:
            return 0
        return self.spec.replicas if self.spec.autoscaling is None else None

    @property
    def least_replicas(self) -> int:
        """The fewest pods wanted now."""
        if self.spec.suspend:
            return 0
        return self.spec.replicas if self.spec.autoscaling is None else self.spec.autoscaling.min_replicas

    @property
    def most_replicas(self) -> int:
        """The most pods there may be while not suspended."""
        return self.spec.replicas if self.spec.autoscaling is None else self.spec.autoscaling.max_replicas


def parse(resource: Mapping[str, Any], database_namespace: str | None = None) -> Worker:
    """The resource, with what its connection says, as values. Raises InvalidSpecError, whose text names the first wrong
    field. database_namespace is that of Worker."""
    metadata = resource["metadata"]
    try:
        spec = Spec.model_validate(resource.get("spec", {}))
    except ValidationError as error:
        raise InvalidSpecError(wrong_field(error, "spec")) from error
    return Worker(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        spec=spec,
        database_namespace=database_namespace,
    )
