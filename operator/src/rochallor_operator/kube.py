"""The only place that talks to Kubernetes for reading and writing. (Watching is kopf's part, in handlers.py.)"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from rochallor_operator.errors import KubernetesError, StartError
from rochallor_operator.metrics import API_CALLS
from rochallor_operator.names import APIS, KIND, MANAGER, REPLICAS_MANAGER, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rochallor_operator.recent import Recent

_METHODS: Final = {
    "get": "get",
    "list": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
}
_NO_JSON: Final = (aiohttp.ContentTypeError, json.JSONDecodeError, UnicodeDecodeError)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, connect=5)


async def load_configuration() -> Configuration:
    """How to reach the cluster: $KUBECONFIG, else the pod's service account, else ~/.kube/config.

    Raises StartError when there is none of them, or when it can't be read.
    """
    configuration = Configuration()
    try:
        if not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST"):
            kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            _check_kubeconfig(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
            await kube_config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (kube_config.ConfigException, OSError) as error:
        raise StartError(
            f"can't find out how to reach a cluster: {error}; set KUBECONFIG or run in a pod with a service account"
        ) from error
    except Exception as error:  # the client stumbles over a file that is something else wherever it happens to
        raise StartError(f"{kube_config.KUBE_CONFIG_DEFAULT_LOCATION} is not a kubeconfig") from error
    return configuration


def _check_kubeconfig(paths: str) -> None:
    """The client's own error for a missing file speaks of its content."""
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep)):
        raise kube_config.ConfigException(f"{paths} does not exist")


class Kube:
    """Reads and server-side applies. Every method raises KubernetesError when the API server refuses or is away, and a
    new one StartError when its certificates can't be used."""

    def __init__(self, configuration: Configuration, recent: Recent) -> None:
        try:
            self._api = ApiClient(configuration)
        except OSError as error:
            raise StartError(f"the certificates for the cluster can't be used: {error}") from error
        self._client = DynamicClient(self._api)  # type: ignore[no-untyped-call]
        self._recent = recent
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before each write to what several operators share; a lost leadership forbids it."""

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def serves(self, kind: str) -> bool:
        """Whether the API server knows a kind of a named group."""
        group, version, plural = APIS[kind]
        listing = await self._read(kind, f"apis/{group}/{version}")
        return listing is not None and any(item["name"] == plural for item in listing["resources"])

    async def may_serve(self, namespace: str) -> bool:
        """Whether there are rights to list the resources of a namespace. They are in the namespace and go with it."""
        try:
            await self._request("list", KIND, _path(KIND, namespace), limit=1)
        except KubernetesError as error:
            if error.status == 403:
                return False
            raise
        return True

    async def may_patch_pods(self, namespace: str) -> bool:
        """Whether there is the right to change the pods of a namespace."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": namespace, "resource": "pods", "verb": "patch"}},
        }
        path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._request("create", "SelfSubjectAccessReview", path, body=review)
        return bool(answer["status"]["allowed"])

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object as it was just seen, else the live one; None when there is none."""
        seen = self._recent.get(kind, namespace, name)
        return seen if seen is not None else await self.read(kind, namespace, name)

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The live object, or None when there is none."""
        return await self._read(kind, _path(kind, namespace, name))

    async def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Manifest]:
        """The pods with these labels, read from the API server's cache."""
        listing = await self._request(
            "list",
            "Pod",
            _path("Pod", namespace),
            label_selector=",".join(f"{key}={value}" for key, value in selector.items()),
            resource_version="0",
        )
        return list(listing["items"])

    async def annotate_pod(self, namespace: str, name: str, annotation: str, value: str | None) -> None:
        """Set an annotation of a pod, or remove it (None); nothing happens when the pod is gone."""
        self._check_leadership()
        change = {"metadata": {"annotations": {annotation: value}}}
        options = {"content_type": "application/merge-patch+json", "field_manager": MANAGER}
        try:
            await self._request("patch", "Pod", _path("Pod", namespace, name), body=change, **options)
        except KubernetesError as error:
            if error.status != 404:
                raise

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply of our fields; returns the live object. A field of ours that someone else changed is taken
        back; what others added stays."""
        return await self._apply(manifest)

    async def apply_status(self, manifest: Manifest) -> None:
        """Server-side apply of the status subresource."""
        await self._apply(manifest, subresource="/status")

    async def give_away_replicas(self, deployment: Manifest, replicas: int) -> Manifest:
        """Set a Deployment's replicas as another field manager; returns the live object.

        An apply removes a field that it no longer has and that nobody else owns: replicas would fall to the default of
        1. With this owner they stay until the autoscaler changes them.
        """
        metadata = {part: deployment["metadata"][part] for part in ("namespace", "name", "uid")}
        wish = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}
        return await self._apply(wish, manager=REPLICAS_MANAGER)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete this very object; nothing happens when it is gone."""
        self._check_leadership()
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._request("delete", kind, _path(kind, namespace, name), body=options)
        except KubernetesError as error:
            if error.status != 404:
                raise
        finally:
            self._recent.forget(kind, namespace, name)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""
        kind = manifest["kind"]
        return await self._request("create", kind, _path(kind, manifest["metadata"]["namespace"]), body=manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object, if it still has the resource version that the manifest names (else status 409)."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = _path(kind, metadata["namespace"], metadata["name"])
        return await self._request("update", kind, path, body=manifest)

    async def _apply(self, manifest: Manifest, subresource: str = "", manager: str = MANAGER) -> Manifest:
        self._check_leadership()
        kind, metadata = manifest["kind"], manifest["metadata"]
        live = await self._request(
            "patch",
            kind,
            _path(kind, metadata["namespace"], metadata["name"]) + subresource,
            body=manifest,
            content_type="application/apply-patch+yaml",
            field_manager=manager,
            force_conflicts="true",
        )
        self._recent.see(live, kind)
        return live

    def _check_leadership(self) -> None:
        if not self.may_write():
            raise KubernetesError(None, "this operator no longer leads")

    async def _read(self, kind: str, path: str) -> Manifest | None:
        try:
            return await self._request("get", kind, path)
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    async def _request(self, verb: str, kind: str, path: str, **options: Any) -> Manifest:
        API_CALLS.labels(verb=verb, kind=kind).inc()
        method = _METHODS[verb]
        try:
            response = await self._client.request(method, path, serialize=False, _request_timeout=_TIMEOUT, **options)
            answer: Manifest = await response.json()
        except ApiException as error:
            raise KubernetesError(error.status, _message(error)) from error
        except _NO_JSON as error:  # a proxy's own page
            raise KubernetesError(None, "what answers in the API server's place sends no JSON") from error
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            why = str(error) or type(error).__name__
            raise KubernetesError(None, f"the API server can't be reached: {why}") from error
        return answer


def _path(kind: str, namespace: str, name: str = "") -> str:
    group, version, plural = APIS[kind]
    root = f"apis/{group}" if group else "api"
    # Names come from specs too: none may lead to another place.
    return f"{root}/{version}/namespaces/{namespace}/{plural}" + (f"/{quote(name, safe='')}" if name else "")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return f"the API server answered {error.status} {error.reason}"
