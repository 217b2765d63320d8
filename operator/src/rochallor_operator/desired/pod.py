"""The pod template of a worker: the operator's own, with the user's template merged over it."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rochallor_operator.desired.connections import CONNECTIONS_PATH, files, sources
from rochallor_operator.desired.environment import HANDLERS_PATH, JOURNAL_PATH, SCALE_PATH, environment
from rochallor_operator.desired.merge import merge
from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import (
    ACCOUNT_HASH,
    METRICS_PORT,
    WORKER_CONTAINER,
    Manifest,
    account_name,
    code_name,
    labels,
    scale_name,
    selector,
)
from rochallor_operator.spec.sections import seconds
from rochallor_operator.spec.worker import RESERVED_ENV, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

USER_ID: Final = 65532
HANDLERS_VOLUME: Final = "handlers"
SCALE_VOLUME: Final = "scale"
GRACE_SECONDS: Final = 10
"""How much longer than its drain a pod may live: time to report the last outcomes and to exit."""


def pod_template(worker: Worker, default_image: str, code: str | None = None) -> Manifest:
    """The template of the worker's pods, without the hashes of what they use.

    default_image is used when the spec names none; code is the hash of the copy of the handlers' ConfigMap to mount,
    None for the ConfigMap itself. Raises InvalidSpecError when spec.template removes something that the rest relies on.
    """
    ours: Manifest = {"metadata": _head(worker), "spec": _pod(worker, default_image, code)}
    with form_of_a_template():
        try:
            merged = merge(ours, worker.spec.template)
        except ValueError as error:
            raise InvalidSpecError(f"spec.template: {error}") from error
        _check(worker, ours, merged)
        if "shareProcessNamespace" not in (worker.spec.template.get("spec") or {}) and _has_sidecars(merged["spec"]):
            del merged["spec"]["shareProcessNamespace"]
        return _with_log_messages(merged)


def _head(worker: Worker) -> Manifest:
    head: Manifest = {"labels": labels(worker.name)}
    annotations = worker.spec.service_account.annotations
    if annotations:
        text = json.dumps(annotations, sort_keys=True)
        head["annotations"] = {ACCOUNT_HASH: hashlib.sha256(text.encode()).hexdigest()[:16]}
    return head


def _has_sidecars(pod: Manifest) -> bool:
    """Whether other containers run beside the worker: with shared processes they could read its variables and files."""
    sidecars = [item for item in pod.get("initContainers") or [] if item.get("restartPolicy") == "Always"]
    return len(pod["containers"]) + len(sidecars) > 1


def _with_log_messages(template: Manifest) -> Manifest:
    """The template with the last log lines of added containers as termination messages, unless they set a policy."""
    policy = "terminationMessagePolicy"
    pod = template["spec"]
    groups = {
        group: [item if policy in item else item | {policy: "FallbackToLogsOnError"} for item in pod[group]]
        for group in ("initContainers", "containers")
        if pod.get(group)
    }
    return template | {"spec": pod | groups}


@contextmanager
def form_of_a_template() -> Iterator[None]:
    """Guard code that reads a merged template: users may have put anything into it, and nothing has checked it yet."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        sentence = "spec.template: spec does not have the form that kubectl explain pod.spec shows"
        raise InvalidSpecError(sentence) from error


def _check(worker: Worker, ours: Manifest, merged: Manifest) -> None:
    there = merged.get("metadata", {}).get("labels", {})
    for label, value in labels(worker.name).items():
        if there.get(label) != value:
            raise InvalidSpecError(f"spec.template: the label {label} must stay {value!r}: it belongs to the operator")
    containers = {item["name"]: item for item in merged.get("spec", {}).get("containers", [])}
    container = containers.get(WORKER_CONTAINER)
    if container is None:
        raise InvalidSpecError(f"spec.template: the container {WORKER_CONTAINER!r} must not be removed")
    if _reserved(container) != _reserved(ours["spec"]["containers"][0]):
        raise InvalidSpecError(
            "spec.template: the ROCHALLOR_ variables that mirror a field of the spec must not be changed"
        )
    if worker.spec.handlers.config_map is not None and HANDLERS_PATH not in _python_path(container):
        raise InvalidSpecError(
            f"spec: the variable PYTHONPATH hides handlers.configMap: include {HANDLERS_PATH} in it, such as"
            f" {HANDLERS_PATH}:/app/lib"
        )


def _python_path(container: Manifest) -> list[str]:
    values = [item.get("value") for item in container.get("env", []) if item["name"] == "PYTHONPATH"]
    return [folder for value in values if value for folder in value.split(":")]


def _reserved(container: Manifest) -> dict[str, Manifest]:
    return {item["name"]: item for item in container.get("env", []) if item["name"] in RESERVED_ENV}


def _pod(worker: Worker, default_image: str, code: str | None) -> Manifest:
    spec = worker.spec
    mounts, volumes = storage(worker, code)
    pod: Manifest = {
        "containers": [_container(worker, default_image, mounts)],
        "volumes": volumes,
        "serviceAccountName": account_name(worker.name),
        "automountServiceAccountToken": False,
        # A Service named rochallor-engine would otherwise add variables that look like the worker's settings.
        "enableServiceLinks": False,
        # As process 1 the worker would miss a SIGTERM that arrives while Python starts, and run on until it is killed.
        "shareProcessNamespace": True,
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


def storage(worker: Worker, code: str | None = None) -> tuple[list[Manifest], list[Manifest]]:
    """The mounts of the container and the volumes of the pod."""
    spec = worker.spec
    mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 (a mount point, not a file of ours)
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if spec.handlers.config_map is not None:
        name = spec.handlers.config_map.name if code is None else code_name(worker.name, code)
        mounts.append({"name": HANDLERS_VOLUME, "mountPath": HANDLERS_PATH, "readOnly": True})
        volumes.append({"name": HANDLERS_VOLUME, "configMap": {"name": name}})
    if spec.journal:
        mounts.append({"name": "journal", "mountPath": JOURNAL_PATH})
        volumes.append({"name": "journal", "emptyDir": {}})
    secrets = files(spec)
    if secrets:
        mounts.append({"name": "connections", "mountPath": CONNECTIONS_PATH, "readOnly": True})
        volumes.append({"name": "connections", "projected": {"sources": sources(secrets)}})
    if spec.counts_pods:
        # As a whole folder, because a single file (subPath) would never change; optional, because pods may start first.
        mounts.append({"name": SCALE_VOLUME, "mountPath": SCALE_PATH, "readOnly": True})
        volumes.append({"name": SCALE_VOLUME, "configMap": {"name": scale_name(worker.name), "optional": True}})
    return mounts, volumes


def _container(worker: Worker, default_image: str, mounts: list[Manifest]) -> Manifest:
    spec = worker.spec
    container: Manifest = {
        "name": WORKER_CONTAINER,
        "image": spec.image or default_image,
        "args": ["run"],
        "env": environment(worker),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        # The worker's last log line says why it can't start.
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
