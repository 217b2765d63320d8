"""Resources that tests create."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from integration.operator.api import Object, RefusedError, has
from rochallor_operator.observe import rollout
from rochallor_operator.policy import FOR_WORKERS

if TYPE_CHECKING:
    from integration.operator.api import Api

NAME = "payments"


def resource(name: str = NAME, **spec: Any) -> Object:
    """A RochallorWorker with handlers in the image; spec replaces fields."""
    return {
        "apiVersion": "rochallor.io/v1alpha1",
        "kind": "RochallorWorker",
        "metadata": {"name": name},
        "spec": {
            "engine": {"url": "http://engine:8080"},
            "jobTypes": ["charge-card"],
            "handlers": {"module": "shop.handlers:registry"},
        }
        | spec,
    }


def connected(name: str = NAME, kind: str = "EngineConnection", **spec: Any) -> Object:
    """The same with what the connection `main` says instead of an engine of its own."""
    wish = resource(name, engineRef={"name": "main", "kind": kind}, **spec)
    if "engine" not in spec:
        del wish["spec"]["engine"]
    return wish


def connection(name: str = "main", kind: str = "EngineConnection", /, **engine: Any) -> Object:
    """A connection, to the same engine as a resource's; a field that is None is left out."""
    fields = {"url": "http://engine:8080"} | engine
    return {
        "apiVersion": "rochallor.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"engine": {field: value for field, value in fields.items() if value is not None}},
    }


def with_config_map(name: str = NAME) -> Object:
    """The same with handlers in the ConfigMap `code`."""
    return resource(name, handlers={"configMap": {"name": "code", "module": "handlers:registry"}})


def code(text: str = "registry = ...", key: str = "handlers.py") -> Object:
    """The ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {key: text}}


def secret(name: str, **keys: str) -> Object:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys}


def account(name: str) -> Object:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def with_label(manifest: Object) -> Object:
    """The same, opened to all workers of its namespace."""
    return manifest | {"metadata": manifest["metadata"] | {"labels": {FOR_WORKERS: "true"}}}


def hpa(least: int = 1, most: int = 5) -> Object:
    """The field that asks for a HorizontalPodAutoscaler."""
    return {"minReplicas": least, "maxReplicas": most}


KEDA: Object = {
    "engine": {"url": "http://engine:8080", "databaseSecret": {"name": "db", "key": "dsn"}},
    "autoscaling": hpa(0, 5)
    | {
        "provider": "keda",
        "prometheus": {"address": "http://prometheus:9090"},
        "backlog": {},
    },
}
"""The fields that ask for a ScaledObject with a TriggerAuthentication."""
MONITORED: Object = {"metrics": {"podMonitor": True}}
"""The field that asks for a PodMonitor."""


def container(deployment: Object) -> Object:
    """The worker's container of a Deployment."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next(item for item in containers if item["name"] == "worker")


def environment(deployment: Object) -> dict[str, str]:
    """The worker container's variables that have a plain value."""
    return {item["name"]: item["value"] for item in container(deployment)["env"] if "value" in item}


def code_version(deployment: Object) -> str:
    """Which version of the handlers in a ConfigMap the pods run."""
    return str(deployment["spec"]["template"]["metadata"]["labels"]["rochallor.io/code"])


def pod_annotations(deployment: Object) -> dict[str, str]:
    """The annotations of the pods."""
    found: dict[str, str] = deployment["spec"]["template"]["metadata"].get("annotations", {})
    return found


def pods(api: Api, name: str | None = NAME) -> list[Object]:
    """The worker's pods that aren't being deleted, oldest first; without a name, those of all workers."""
    every = [(pod["metadata"].get("labels", {}).get("rochallor.io/worker"), pod) for pod in api.every("Pod")]
    ours = [pod for worker, pod in every if worker is not None and name in {None, worker}]
    living = [pod for pod in ours if "deletionTimestamp" not in pod["metadata"]]
    return sorted(living, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def play_kubelet(api: Api, name: str | None = NAME) -> None:
    """Mark every pod of the worker as running and ready; without a name, those of all workers."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "conditions": [ready]}
    for pod in pods(api, name):
        if not any(item["type"] == "Ready" for item in pod["status"].get("conditions", [])):
            with suppress(RefusedError):  # it may be deleted by now
                api.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")


def replicas(wanted: int) -> Any:
    """A test for `Api.until`: the Deployment's controller has created this many pods."""
    return lambda live: live is not None and live.get("status", {}).get("replicas", 0) == wanted


def until_available(api: Api, name: str = NAME) -> Object:
    """Let all pods run, including later ones; returns the resource once it is ready with its newest template. (When
    that has only just changed, the resource is still ready from before.)"""
    ready = has("Ready", "True", "Available")

    def arrived(live: Object) -> bool:
        play_kubelet(api, name)
        return ready(live) and rollout(api.the("Deployment", name)).complete

    return api.until_the("RochallorWorker", name, arrived)


def make_available(api: Api, wanted: int, name: str = NAME) -> Object:
    """Let the worker's pods run; returns the resource once its counts say so."""
    api.until_the("Deployment", name, replicas(wanted))
    play_kubelet(api, name)
    return api.until_the(
        "RochallorWorker", name, lambda live: live.get("status", {}).get("availableReplicas") == wanted
    )
