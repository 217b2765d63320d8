"""A small synchronous Kubernetes client for tests; waiting is watching."""

from __future__ import annotations

import base64
import json
import math
import ssl
import time
from typing import TYPE_CHECKING, Any

import httpx
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

Object = dict[str, Any]

COLLECTIONS = {
    "APIService": "apis/apiregistration.k8s.io/v1/apiservices",
    "CustomResourceDefinition": "apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ClusterEngineConnection": "apis/rochallor.io/v1alpha1/clusterengineconnections",
    "ClusterRole": "apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ValidatingAdmissionPolicy": "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "ValidatingWebhookConfiguration": "apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "EngineConnection": "apis/rochallor.io/v1alpha1/namespaces/{}/engineconnections",
    "Event": "api/v1/namespaces/{}/events",
    "EndpointSlice": "apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "Lease": "apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "Namespace": "api/v1/namespaces",
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "ControllerRevision": "apis/apps/v1/namespaces/{}/controllerrevisions",
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "NetworkPolicy": "apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Pod": "api/v1/namespaces/{}/pods",
    "PodDisruptionBudget": "apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "PodMonitor": "apis/monitoring.coreos.com/v1/namespaces/{}/podmonitors",
    "ReplicaSet": "apis/apps/v1/namespaces/{}/replicasets",
    "ResourceQuota": "api/v1/namespaces/{}/resourcequotas",
    "RochallorWorker": "apis/rochallor.io/v1alpha1/namespaces/{}/rochallorworkers",
    "ScaledObject": "apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects",
    "Secret": "api/v1/namespaces/{}/secrets",
    "Service": "api/v1/namespaces/{}/services",
    "ServiceAccount": "api/v1/namespaces/{}/serviceaccounts",
    "TriggerAuthentication": "apis/keda.sh/v1alpha1/namespaces/{}/triggerauthentications",
}


class RefusedError(Exception):
    """The API server refused a request; str() is its message, status the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The cluster of a kubeconfig that holds a token, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._http = httpx.Client(
            base_url=cluster["server"],
            headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
            verify=ssl.create_default_context(cadata=authority),
            timeout=60,  # the machine may be busy
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, kind: str, name: str) -> Object | None:
        """The object, or None."""
        response = self._http.get(self._path(kind, name))
        return None if response.status_code == 404 else _answer(response)

    def the(self, kind: str, name: str) -> Object:
        """The object, which must exist."""
        found = self.get(kind, name)
        assert found is not None, f"{kind} {name} does not exist"
        return found

    def every(self, kind: str) -> list[Object]:
        """All objects of the kind in the namespace."""
        items: list[Object] = _answer(self._http.get(self._path(kind)))["items"]
        return items

    def raw(self, path: str) -> Object:
        """The API server's answer at a path, as with `kubectl get --raw`."""
        return _answer(self._http.get(path, timeout=60))

    def table(self, kind: str) -> tuple[list[str], list[list[Any]]]:
        """kubectl's table of all objects of the kind: the columns' names and the rows."""
        form = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        answer = _answer(self._http.get(self._path(kind), headers=form))
        shown = [not column["priority"] for column in answer["columnDefinitions"]]
        names = [column["name"] for column in answer["columnDefinitions"]]
        rows = [names, *(row["cells"] for row in answer["rows"])]
        columns, *cells = ([cell for cell, show in zip(row, shown, strict=True) if show] for row in rows)
        return columns, cells

    def create(self, manifest: Object, **query: str) -> Object:
        """Create an object."""
        return _answer(self._http.post(self._path(manifest["kind"]), json=manifest, params=query))

    def post(self, kind: str, body: str, **query: str) -> Object:
        """Create an object from JSON text, which may be something that Python can't write."""
        form = {"Content-Type": "application/json"}
        return _answer(self._http.post(self._path(kind), content=body, headers=form, params=query))

    def apply(self, manifest: Object, manager: str = "t", **query: str) -> Object:
        """Server-side apply, as `kubectl apply --server-side` does it."""
        path = self._path(manifest["kind"], manifest["metadata"]["name"])
        form = {"Content-Type": "application/apply-patch+yaml"}
        query |= {"fieldManager": manager}
        return _answer(self._http.patch(path, content=json.dumps(manifest), headers=form, params=query))

    def token(self, account: str) -> str:
        """A token for a service account."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        return str(_answer(self._http.post(path, json=request))["status"]["token"])

    def patch(self, kind: str, name: str, change: Object, subresource: str = "", *, strategic: bool = False) -> Object:
        """Change an object: a JSON merge patch, or a strategic one."""
        content_type = "application/strategic-merge-patch+json" if strategic else "application/merge-patch+json"
        path = self._path(kind, name) + subresource
        return _answer(self._http.patch(path, content=json.dumps(change), headers={"Content-Type": content_type}))

    def replace(self, kind: str, name: str, change: Object) -> Object:
        """Replace whole top-level fields of an object, even if others change meanwhile."""
        fields = [{"op": "replace", "path": f"/{field}", "value": value} for field, value in change.items()]
        content_type = "application/json-patch+json"
        path = self._path(kind, name)
        return _answer(self._http.patch(path, content=json.dumps(fields), headers={"Content-Type": content_type}))

    def delete(self, kind: str, name: str, propagation: str = "Background") -> None:
        """Delete an object."""
        _answer(self._http.delete(self._path(kind, name), params={"propagationPolicy": propagation}))

    def since(self, kind: str, version: str) -> Object:
        """The first event of a watch of the namespace from a resource version; an error is a Status."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "5"}
        with self._http.stream("GET", self._path(kind), params=query) as stream:
            answer: Object = json.loads(next(stream.iter_lines()))
            found: Object = answer.get("object", answer)
            return found

    def until(self, kind: str, name: str, wanted: Callable[[Object | None], Any], timeout: float = 90) -> Object | None:
        """Watch an object until `wanted(object or None)` is true; return it as it is then."""
        deadline = time.monotonic() + timeout
        last: Object | None = None
        while time.monotonic() < deadline:
            for last in self._states(kind, name, deadline):
                if wanted(last):
                    return last
            time.sleep(0.1)
        raise AssertionError(f"{kind} {name} did not get there in {timeout} s:\n{yaml.safe_dump(last)}")

    def until_the(self, kind: str, name: str, wanted: Callable[[Object], Any], timeout: float = 90) -> Object:
        """The same for an object that must exist to be right."""
        found = self.until(kind, name, lambda live: live is not None and wanted(live), timeout)
        assert found is not None
        return found

    def _states(self, kind: str, name: str, deadline: float) -> Iterator[Object | None]:
        """The object now and after each change, until the deadline or until the API server ends the watch sooner."""
        query = {"fieldSelector": f"metadata.name={name}"}
        response = self._http.get(self._path(kind), params=query)
        if response.status_code == 429:  # the kind is new, and its store not there yet
            return
        listing = _answer(response)
        yield next(iter(listing["items"]), None)
        left = max(1, math.ceil(deadline - time.monotonic()))
        query |= {"watch": "true", "resourceVersion": listing["metadata"]["resourceVersion"]}
        query["timeoutSeconds"] = str(left)
        # Nothing may happen to the object for all that time.
        with self._http.stream("GET", self._path(kind), params=query, timeout=left + 60) as stream:
            if stream.is_error:
                stream.read()
                if stream.status_code == 429:
                    return
                _answer(stream)
            for line in stream.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":  # the version is too old, or the store starts anew
                    return
                yield None if event["type"] == "DELETED" else event["object"]

    def _path(self, kind: str, name: str = "") -> str:
        collection = "/" + COLLECTIONS[kind].format(self.namespace)
        return f"{collection}/{name}" if name else collection


def _answer(response: httpx.Response) -> Object:
    body: Object = response.json()
    if response.is_error:
        raise RefusedError(response.status_code, body["message"])
    return body


def condition(resource: Object | None, kind: str) -> Object:
    """The condition of a RochallorWorker, {} before there is one."""
    conditions = (resource or {}).get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {})


def has(kind: str, status: str, reason: str, *words: str) -> Callable[[Object], bool]:
    """A test for `until`: the condition has this status, reason and these words at the current generation."""

    def wanted(resource: Object) -> bool:
        found = condition(resource, kind)
        return (
            (found.get("status"), found.get("reason")) == (status, reason)
            and found["observedGeneration"] == resource["metadata"]["generation"]
            and all(word in found["message"] for word in words)
        )

    return wanted
