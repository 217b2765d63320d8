"""KEDA's ScaledObject and TriggerAuthentication of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rochallor_operator.desired.connections import files
from rochallor_operator.desired.environment import environment
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
_VARIABLES: Final = {
    "ROCHALLOR_KAFKA_OAUTH_TOKEN_URL": "oauthTokenEndpointUri",
    "ROCHALLOR_KAFKA_OAUTH_SCOPE": "scopes",
    "ROCHALLOR_KAFKA_OAUTH_EXTENSIONS": "oauthExtensions",
}
"""KEDA's parameter for variables of the worker: it takes these from a TriggerAuthentication, not from a trigger."""


def trigger_authentication(worker: Worker, wish: Autoscaling) -> Manifest | None:
    """KEDA's credentials for Kafka or the engine's database; None when it needs none."""
    secrets = [
        {"parameter": _PARAMETERS[file.setting], "name": file.secret, "key": file.key}
        for file in files(worker.spec)
        if file.setting in _PARAMETERS
    ]
    if wish.backlog is not None:
        dsn = wish.backlog.dsn_secret
        secrets.append({"parameter": "connection", "name": dsn.name, "key": dsn.key})
    if not secrets:
        return None
    variables = [
        {"parameter": _VARIABLES[variable["name"]], "name": variable["name"], "containerName": WORKER_CONTAINER}
        for variable in environment(worker.spec)
        if variable["name"] in _VARIABLES
    ]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": metadata(worker, worker.name),
        "spec": {"secretTargetRef": secrets, **({"env": variables} if variables else {})},
    }


def scaled_object(worker: Worker, wish: Autoscaling, *, stopped: bool) -> Manifest:
    """Scales on the lag of the job types' topics, or on the share of busy slots and optionally on the backlog.

    While a trigger can't be read, the number of pods stays: an outage of Prometheus doesn't mean that there is no work.
    A missing series is no error only when `stopped`, with no pods wanted now.
    """
    kafka = worker.spec.kafka
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": worker.name},
        "minReplicaCount": wish.min_replicas,
        "maxReplicaCount": wish.max_replicas,
        "fallback": {
            "failureThreshold": 3,
            "replicas": max(1, wish.min_replicas),
            "behavior": "currentReplicasIfHigher",
        },
        "triggers": _busy_and_backlog(worker, wish, stopped=stopped) if kafka is None else _topics(worker, wish, kafka),
    }
    if wish.behavior is not None:
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": wish.behavior}}
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
    if trigger_authentication(worker, wish) is not None:
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
        metadata_of_trigger = {
            "serverAddress": wish.prometheus.address,
            "query": _busy_pods(worker, stopped=stopped),
            "threshold": str(wish.target_utilization / 100),
            "ignoreNullValues": "false",
        }
        triggers.append({"type": "prometheus", "metadata": metadata_of_trigger})
    if wish.backlog is not None:
        query = {"query": wish.backlog.query, "targetQueryValue": str(wish.backlog.target)}
        triggers.append(
            {"type": "postgresql", "metadata": query, "authenticationRef": {"name": worker.name}},
        )
    return triggers


def _busy_pods(worker: Worker, *, stopped: bool) -> str:
    """PromQL for how many pods the busy slots would fill, from the same metric that a HorizontalPodAutoscaler uses.

    A rate of busy time would need two scrapes inside its window, and would show new load only as the window fills.
    """
    # Kubernetes truncates a pod's name before its last five characters: a long name has no dash there.
    pods = f'namespace="{worker.namespace}",pod=~"{worker.name}-[a-z0-9]+(-[a-z0-9]{{5}})?"'
    busy = f"sum(rochallor_worker_utilization_ratio{{{pods}}})"
    # Without pods there is no series, and KEDA's fallback would start a pod. With pods, one that is not scraped may be
    # busy: a missing value must not count as 0, which would stop it.
    return f"{busy} or vector(0)" if stopped else busy
