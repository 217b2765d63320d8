"""The Deployment that runs a worker's pods."""

from __future__ import annotations

import math
from typing import Final

from rochallor_operator.desired.metadata import metadata
from rochallor_operator.names import HANDLERS_HASH, METRICS_PORT, Manifest, labels, selector
from rochallor_operator.spec import Worker, seconds

USER_ID: Final = 65532
HANDLERS_PATH: Final = "/handlers"
GRACE_SECONDS: Final = 10
"""How much longer than its drain a pod may live: time to report the last outcomes and to end."""


def deployment(worker: Worker, default_image: str, handlers_hash: str | None) -> Manifest:
    """The worker's Deployment.

    default_image is used when the spec names none; handlers_hash is the hash of the handlers' ConfigMap, None when the
    handlers are in the image.
    """
    template_metadata: Manifest = {"labels": labels(worker.name)}
    if handlers_hash is not None:
        template_metadata["annotations"] = {HANDLERS_HASH: handlers_hash}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(worker, worker.name),
        "spec": {
            "replicas": worker.replicas,
            "selector": {"matchLabels": selector(worker.name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {"metadata": template_metadata, "spec": _pod(worker, default_image)},
        },
    }


def _pod(worker: Worker, default_image: str) -> Manifest:
    spec = worker.spec
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if spec.handlers.config_map is not None:
        volumes.append({"name": "handlers", "configMap": {"name": spec.handlers.config_map.name}})
    pod: Manifest = {
        "containers": [_container(worker, default_image)],
        "volumes": volumes,
        "automountServiceAccountToken": False,
        # A Service called rochallor-engine would otherwise add variables that look like the worker's settings.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(seconds(spec.drain_timeout)) + GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(worker.name)},
            }
        ],
    }
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = list(spec.image_pull_secrets)
    return pod


def _container(worker: Worker, default_image: str) -> Manifest:
    spec = worker.spec
    mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 (a mount point, not a file of ours)
    if spec.handlers.config_map is not None:
        mounts.append({"name": "handlers", "mountPath": HANDLERS_PATH, "readOnly": True})
    container: Manifest = {
        "name": "worker",
        "image": spec.image or default_image,
        "args": ["run"],
        "env": _environment(worker),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        # The worker's last log line is the sentence people need when it can't start.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _probe("/livez", periodSeconds=2, failureThreshold=60),
        "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=3),
        "readinessProbe": _probe("/readyz", periodSeconds=3, failureThreshold=2),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if spec.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.image_pull_policy
    if spec.resources:
        container["resources"] = spec.resources
    if spec.env_from:
        container["envFrom"] = list(spec.env_from)
    return container


def _probe(path: str, **timing: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "metrics"}, "timeoutSeconds": 3, **timing}


def _environment(worker: Worker) -> list[Manifest]:
    """Our variables, then the user's, which replace ours of the same name (spec.py keeps some names reserved)."""
    spec = worker.spec
    values = {
        "ROCHALLOR_TRANSPORT": spec.transport,
        "ROCHALLOR_ENGINE_URL": spec.engine.url,
        "ROCHALLOR_JOB_TYPES": ",".join(spec.job_types),
        "ROCHALLOR_PARALLELISM": str(spec.parallelism),
        "ROCHALLOR_POLL_INTERVAL": spec.poll_interval,
        "ROCHALLOR_DRAIN_TIMEOUT": spec.drain_timeout,
        "ROCHALLOR_METRICS_PORT": str(METRICS_PORT),
    }
    if spec.handler_timeout is not None:
        values["ROCHALLOR_HANDLER_TIMEOUT"] = spec.handler_timeout
    if spec.handlers.config_map is not None:
        values["ROCHALLOR_HANDLERS"] = spec.handlers.config_map.module
        values["PYTHONPATH"] = HANDLERS_PATH
    elif spec.handlers.module is not None:
        values["ROCHALLOR_HANDLERS"] = spec.handlers.module
    ours: list[Manifest] = [{"name": name, "value": value} for name, value in values.items()]
    ours.append({"name": "ROCHALLOR_WORKER_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    theirs = {variable["name"]: variable for variable in spec.env}
    return [variable for variable in ours if variable["name"] not in theirs] + list(theirs.values())
