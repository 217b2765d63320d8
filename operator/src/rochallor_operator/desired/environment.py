"""The environment variables of the worker container: the operator's whole contract with the worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from rochallor_operator.desired.connections import CONNECTIONS_PATH, files
from rochallor_operator.names import METRICS_PORT
from rochallor_operator.spec.worker import DEFAULT_LEASE

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.sections import Kafka, Tls
    from rochallor_operator.spec.worker import Handlers, Spec, Worker

HANDLERS_PATH: Final = "/handlers"
JOURNAL_PATH: Final = "/var/lib/rochallor"
SCALE_PATH: Final = f"{CONNECTIONS_PATH}/scale"
PODS_KEY: Final = "pods"
"""The key of the ConfigMap that is mounted there, and so the file: the number of ready pods."""


def environment(worker: Worker) -> list[Manifest]:
    """Our variables, then the user's, which replace ours of the same name (RESERVED_ENV lists the exceptions)."""
    spec = worker.spec
    values = {
        "ROCHALLOR_TRANSPORT": spec.transport,
        **_engine(spec),
        **(_kafka(spec.kafka) if spec.kafka is not None else {}),
        "ROCHALLOR_JOB_TYPES": ",".join(spec.job_types),
        "ROCHALLOR_PARALLELISM": str(spec.parallelism),
        "ROCHALLOR_POLL_INTERVAL": spec.poll_interval,
        "ROCHALLOR_DRAIN_TIMEOUT": spec.drain_timeout,
        "ROCHALLOR_METRICS_PORT": str(METRICS_PORT),
        **_tls_files("ENGINE", spec.engine.tls),
        **(_tls_files("KAFKA", spec.kafka.tls) if spec.kafka is not None else {}),
        **{f"ROCHALLOR_{file.setting}": f"{CONNECTIONS_PATH}/{file.path}" for file in files(spec)},
    }
    # The default is left out, so that pods of a release without this field need not be replaced.
    if spec.lease != DEFAULT_LEASE:
        values["ROCHALLOR_LEASE"] = spec.lease
    if spec.handler_timeout is not None:
        values["ROCHALLOR_HANDLER_TIMEOUT"] = spec.handler_timeout
    if spec.journal:
        values["ROCHALLOR_JOURNAL_DIR"] = JOURNAL_PATH
    values |= _limits(spec)
    values |= _handlers(spec.handlers)
    # The kubelet expands $(NAME) to another variable, and $$ to one $.
    ours: list[Manifest] = [{"name": name, "value": value.replace("$", "$$")} for name, value in values.items()]
    ours.append({"name": "ROCHALLOR_WORKER_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    ours += _telemetry(worker)
    theirs = {variable["name"]: variable for variable in spec.env}
    return [variable for variable in ours if variable["name"] not in theirs] + list(theirs.values())


def _engine(spec: Spec) -> dict[str, str]:
    engine = spec.engine
    values: dict[str, str] = {}
    if spec.transport == "kafka":
        values["ROCHALLOR_OUTCOME_TRANSPORT"] = spec.outcome_transport or "rest"
    if engine.url is not None:
        values["ROCHALLOR_ENGINE_URL"] = engine.url
    if engine.grpc_target is not None:
        values["ROCHALLOR_ENGINE_GRPC_TARGET"] = engine.grpc_target
    if (oauth := engine.oauth) is not None:
        values["ROCHALLOR_ENGINE_OAUTH_TOKEN_URL"] = oauth.token_url
        values |= {"ROCHALLOR_ENGINE_OAUTH_SCOPE": oauth.scope} if oauth.scope else {}
        values |= {"ROCHALLOR_ENGINE_OAUTH_AUDIENCE": oauth.audience} if oauth.audience else {}
    if engine.headers:
        values["ROCHALLOR_ENGINE_HEADERS"] = "\n".join(f"{header.name}: {header.value}" for header in engine.headers)
    return values


def _kafka(kafka: Kafka) -> dict[str, str]:
    values = {
        "ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "ROCHALLOR_KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
        "ROCHALLOR_KAFKA_DEDUP_WINDOW": kafka.dedup_window,
    }
    if kafka.sasl_mechanism is not None:
        values["ROCHALLOR_KAFKA_SASL_MECHANISM"] = kafka.sasl_mechanism
    if kafka.dead_letter:
        values["ROCHALLOR_KAFKA_DEAD_LETTER"] = "1"
    if (oauth := kafka.oauth) is not None:
        values["ROCHALLOR_KAFKA_OAUTH_TOKEN_URL"] = oauth.token_url
        if oauth.scope is not None:
            values["ROCHALLOR_KAFKA_OAUTH_SCOPE"] = oauth.scope
        if oauth.extensions:
            values["ROCHALLOR_KAFKA_OAUTH_EXTENSIONS"] = ",".join(
                f"{name}={oauth.extensions[name]}" for name in sorted(oauth.extensions)
            )
    if kafka.group_protocol != "classic":
        values["ROCHALLOR_KAFKA_GROUP_PROTOCOL"] = kafka.group_protocol
    if kafka.create_topics is not None:
        values["ROCHALLOR_KAFKA_CREATE_TOPICS"] = kafka.create_topics.model_dump_json(by_alias=True)
    if kafka.properties:
        values["ROCHALLOR_KAFKA_PROPERTIES"] = json.dumps(kafka.properties, separators=(",", ":"), sort_keys=True)
    return values


def _tls_files(peer: str, tls: Tls) -> dict[str, str]:
    """The files that volumes of the template bring."""
    paths = {"CA": tls.ca_file, "CERT": tls.cert_file, "KEY": tls.key_file}
    return {f"ROCHALLOR_{peer}_{name}_FILE": path for name, path in paths.items() if path is not None}


def _limits(spec: Spec) -> dict[str, str]:
    """The limits in the form of the spec, without defaults."""
    if not spec.limits:
        return {}
    limits = [limit.model_dump(by_alias=True, exclude_defaults=True) for limit in spec.limits]
    values = {"ROCHALLOR_LIMITS": json.dumps(limits, separators=(",", ":"))}
    if spec.counts_pods:
        values["ROCHALLOR_PODS_FILE"] = f"{SCALE_PATH}/{PODS_KEY}"
    return values


def _handlers(handlers: Handlers) -> dict[str, str]:
    if handlers.config_map is not None:
        return {"ROCHALLOR_HANDLERS": handlers.config_map.module, "PYTHONPATH": HANDLERS_PATH}
    return {"ROCHALLOR_HANDLERS": handlers.module} if handlers.module is not None else {}


def _telemetry(worker: Worker) -> list[Manifest]:
    """OpenTelemetry's own variables. The kubelet fills in the pod's name, from a variable that comes before."""
    telemetry = worker.spec.telemetry
    if telemetry is None:
        return []
    values = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": telemetry.endpoint.replace("$", "$$"),
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(telemetry.sample_ratio),
        "OTEL_SERVICE_NAME": worker.name,
        "OTEL_RESOURCE_ATTRIBUTES": f"k8s.namespace.name={worker.namespace},k8s.pod.name=$(ROCHALLOR_WORKER_ID)",
    }
    return [{"name": name, "value": value} for name, value in values.items()]
