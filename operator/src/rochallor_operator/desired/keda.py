"""KEDA's ScaledObject and TriggerAuthentication of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rochallor_operator.desired import prometheus
from rochallor_operator.desired.connections import files
from rochallor_operator.desired.environment import environment
from rochallor_operator.desired.hpa import behavior
from rochallor_operator.names import WORKER_CONTAINER, Manifest, metadata

if TYPE_CHECKING:
    from rochallor_operator.spec.sections import Autoscaling, Kafka
    from rochallor_operator.spec.worker import Worker

_SASL: Final = {
    "PLAIN": "plaintext",
    "SCRAM-SHA-256": "scram_sha256",
    "SCRAM-SHA-512": "scram_sha512",
    "OAUTHBEARER": "oauthbearer",
}
_PARAMETERS: Final = {
    "KAFKA_SASL_USERNAME_FILE": "username",
    "KAFKA_SASL_PASSWORD_FILE": "password",
    "KAFKA_OAUTH_CLIENT_ID_FILE": "username",
    "KAFKA_OAUTH_CLIENT_SECRET_FILE": "password",
    "KAFKA_CA_FILE": "ca",
    "KAFKA_CERT_FILE": "cert",
    "KAFKA_KEY_FILE": "key",
}
"""KEDA's parameter for each file of the worker."""
_WITHOUT_FALLBACK: Final = frozenset({"cpu", "memory"})
"""Triggers that KEDA leaves to Kubernetes. With these alone it refuses a fallback."""
_VARIABLES: Final = {
    "ROCHALLOR_KAFKA_OAUTH_TOKEN_URL": "oauthTokenEndpointUri",
    "ROCHALLOR_KAFKA_OAUTH_SCOPE": "scopes",
    "ROCHALLOR_KAFKA_OAUTH_EXTENSIONS": "oauthExtensions",
}
"""KEDA's parameter for variables of the worker: it takes these from a TriggerAuthentication, not from a trigger."""


def trigger_authentication(worker: Worker, wish: Autoscaling) -> Manifest | None:
    """KEDA's credentials for Kafka, Prometheus or the engine's database; None when it needs none."""
    secrets = [
        {"parameter": _PARAMETERS[file.setting], "name": file.secret, "key": file.key}
        for file in files(worker.spec)
        if file.setting in _PARAMETERS
    ]
    if wish.prometheus is not None:
        secrets += prometheus.secrets(wish.prometheus)
    database = worker.spec.engine.database_secret
    if wish.backlog is not None and database is not None:
        secrets.append({"parameter": "connection", "name": database.name, "key": database.key})
    if not secrets:
        return None
    variables = [
        {"parameter": _VARIABLES[variable["name"]], "name": variable["name"], "containerName": WORKER_CONTAINER}
        for variable in environment(worker)
        if variable["name"] in _VARIABLES
    ]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": metadata(worker, worker.name),
        "spec": {"secretTargetRef": secrets, **({"env": variables} if variables else {})},
    }


def scaled_object(worker: Worker, wish: Autoscaling, *, stopped: bool) -> Manifest:
    """Scales on the lag of the job types' topics, or on the share of busy slots and optionally on the backlog; then on
    how long jobs wait, and on the user's own triggers.

    While a trigger can't be read, the number of pods stays: an outage of Prometheus doesn't mean that there is no work.
    A missing series is no error only when `stopped`, with no pods wanted now.
    """
    kafka = worker.spec.kafka
    triggers = [
        *(_busy_and_backlog(worker, wish, stopped=stopped) if kafka is None else _topics(worker, wish, kafka)),
        *_wait(worker, wish, stopped=stopped),
        *(trigger.model_dump(by_alias=True, exclude_defaults=True) for trigger in wish.triggers),
    ]
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": worker.name},
        "minReplicaCount": wish.min_replicas,
        "maxReplicaCount": wish.max_replicas,
    }
    if any(trigger["type"] not in _WITHOUT_FALLBACK for trigger in triggers):
        spec["fallback"] = {
            "failureThreshold": 3,
            "replicas": max(1, wish.min_replicas),
            "behavior": "currentReplicasIfHigher",
        }
    spec["triggers"] = triggers
    if wish.behavior is not None:
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": behavior(wish.behavior)}}
        # KEDA itself makes the step to zero. By default both wait for five minutes.
        if (window := wish.behavior.get("scaleDown", {}).get("stabilizationWindowSeconds")) is not None:
            spec["cooldownPeriod"] = window
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(worker, worker.name),
        "spec": spec,
    }


def _topics(worker: Worker, wish: Autoscaling, kafka: Kafka) -> list[Manifest]:
    """A trigger per job type. The default threshold is one pod per `parallelism` records."""
    common = {
        "bootstrapServers": kafka.bootstrap_servers,
        "lagThreshold": str(wish.kafka_lag_threshold or worker.spec.parallelism),
        "offsetResetPolicy": "earliest",
    }
    if kafka.sasl_mechanism is not None:
        common["sasl"] = _SASL[kafka.sasl_mechanism]
    if kafka.security_protocol in {"SSL", "SASL_SSL"}:
        common["tls"] = "enable"
    reference: Manifest = {}
    if any(file.setting in _PARAMETERS for file in files(worker.spec)):
        reference["authenticationRef"] = {"name": worker.name}
    return [
        {
            "type": "kafka",
            "metadata": {
                **common,
                "topic": f"workflow.jobs.{job_type}",
                "consumerGroup": f"workflow.workers.{job_type}",
            },
            **reference,
        }
        for job_type in worker.spec.job_types
    ]


def _busy_and_backlog(worker: Worker, wish: Autoscaling, *, stopped: bool) -> list[Manifest]:
    triggers: list[Manifest] = []
    if wish.prometheus is not None:
        triggers.append(prometheus.busy_trigger(worker, wish.prometheus, wish.target_utilization, stopped=stopped))
    if wish.backlog is not None:
        query = {
            "query": wish.backlog.query or _jobs(worker.spec.job_types),
            "targetQueryValue": str(wish.backlog.target or worker.spec.parallelism),
        }
        triggers.append(
            {"type": "postgresql", "metadata": query, "authenticationRef": {"name": worker.name}},
        )
    return triggers


def _jobs(job_types: tuple[str, ...]) -> str:
    """SQL for the number of waiting and running jobs of live instances (engine.md: Table `job`). Running ones count, so
    that KEDA doesn't stop the last pods while they work."""
    live = "workflow_instance.status IN ('ACTIVE', 'WAITING') AND job.status IN ('UNLOCKED', 'LOCKED')"
    types = ", ".join("'" + job_type.replace("'", "''") + "'" for job_type in job_types)
    tables = "job JOIN workflow_instance ON workflow_instance.id = job.instance_id"
    return f"SELECT count(*) FROM {tables} WHERE {live} AND job.job_type IN ({types})"  # noqa: S608 (quoted)


def _wait(worker: Worker, wish: Autoscaling, *, stopped: bool) -> list[Manifest]:
    if wish.prometheus is None or wish.target_wait is None:
        return []
    return [prometheus.wait_trigger(worker, wish.prometheus, wish.target_wait, stopped=stopped)]
