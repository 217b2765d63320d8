"""The operator's reads in Kubernetes: its rights, single objects, listings and watches of metadata."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rochallor_operator.cluster.client import Client, path_of
from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import (
    APIS,
    CHILDREN,
    DELETION_COST,
    FOREIGN,
    KIND,
    MANAGED_BY_LABEL,
    MANAGER,
    READY_PODS,
    SHIELD,
    SHIELDED_SINCE,
    TEMPLATE_HASH,
    Key,
    Manifest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from kubernetes.aio.client import Configuration

    from rochallor_operator.cluster.cache import Cache

POD_BYTES: Final = 8 << 20
"""The most bytes of a worker's pods read at a time: about a thousand ordinary pods, or a few huge ones."""
_POD_READS: Final = 2
"""For how many workers pods are read at the same time."""
_POD_METADATA: Final = ("name", "creationTimestamp", "deletionTimestamp")
_IN_USE: Final = {"labels": (TEMPLATE_HASH,), "annotations": (DELETION_COST, READY_PODS, SHIELDED_SINCE, *SHIELD)}
_METADATA: Final = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
"""Media type for objects' metadata alone, and for lists of it with "List" filled in."""


class Reads:
    """Reads, which the cache saves where it can. Every method raises KubernetesError when the API server refuses or
    can't be reached; the constructor raises StartError when the certificates can't be used."""

    def __init__(self, configuration: Configuration, cache: Cache) -> None:
        self._client = Client(configuration)
        self._request = self._client.request
        self._cache = cache
        self._pod_reads = asyncio.Semaphore(_POD_READS)
        self.on_answer: Callable[[str, Manifest], None] = lambda *_: None
        """Called with the kind and the object of each answer to a read or an apply."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def serves(self, kind: str) -> bool:
        """Whether the API server serves a kind of a named group."""
        group, version, plural = APIS[kind]
        listing = await self._read(kind, f"apis/{group}/{version}")
        return listing is not None and any(item["name"] == plural for item in listing["resources"])

    async def may_serve(self, namespace: str) -> bool:
        """Whether the operator may list the resources of a namespace: its Role there is deleted with the namespace."""
        try:
            await self._request("list", KIND, path_of(KIND, namespace), limit=1)
        except KubernetesError as error:
            if error.status == 403:
                return False
            raise
        return True

    async def may_patch_pods(self, namespace: str) -> bool:
        """Whether the operator may patch the pods of a namespace."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": namespace, "resource": "pods", "verb": "patch"}},
        }
        path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._request("create", "SelfSubjectAccessReview", path, body=review)
        return bool(answer["status"]["allowed"])

    async def own_account(self, namespace: str) -> list[Manifest]:
        """An owner reference to the operator's own ServiceAccount; none when that is no account of the namespace.

        Objects that the account owns are deleted with the chart that contains it. This review needs no right.
        """
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "apis/authentication.k8s.io/v1/selfsubjectreviews"
        user = (await self._request("create", "SelfSubjectReview", path, body=review))["status"]["userInfo"]
        start, _, name = user["username"].rpartition(":")
        if start != f"system:serviceaccount:{namespace}":
            return []
        return [{"apiVersion": "v1", "kind": "ServiceAccount", "name": name, "uid": user["uid"]}]

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object from the cache, else the live one; None when there is none."""
        seen = self._cache.get(kind, namespace, name)
        if seen is not None:
            return seen
        live = await self.read(kind, namespace, name)
        if live is not None and _is_followed(kind, live):
            self._cache.put(live, kind)
        return live

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The live object, or None when there is none."""
        live = await self._read(kind, path_of(kind, namespace, name))
        if live is not None:
            self.on_answer(kind, live)
        return live

    async def keys(self, namespace: str) -> list[Key]:
        """The keys of all resources in a namespace, or in all namespaces when it is ""."""
        form = {"Accept": _METADATA.format("List")}
        found: list[Key] = []
        async for items, _ in self._client.pages(KIND, path_of(KIND, namespace), header_params=form):
            found += [Key(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items]
        return found

    async def metadata(self, kind: str, namespace: str, selector: Mapping[str, str]) -> list[Manifest]:
        """The metadata of the objects with these labels."""
        form = {"Accept": _METADATA.format("List")}
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        found: list[Manifest] = []
        async for items, _ in self._client.pages(
            kind, path_of(kind, namespace), label_selector=labels, header_params=form
        ):
            found += items
        return found

    async def version(self, kind: str, namespace: str) -> str:
        """The current resource version, to start a watch of a kind from; namespace is "" for all."""
        form = {"Accept": _METADATA.format("List")}
        listing = await self._request("list", kind, path_of(kind, namespace), limit=1, header_params=form)
        return str(listing["metadata"]["resourceVersion"])

    def changes(self, kind: str, namespace: str, version: str, seconds: float) -> AsyncIterator[Manifest]:
        """The events after a resource version, with metadata only; seconds and errors as in Client.watch."""
        form = {"Accept": _METADATA.format("")}
        path = path_of(kind, namespace)
        return self._client.watch(kind, path, seconds, resource_version=version, header_params=form)

    async def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Manifest]:
        """The pods with these labels, in the order of their names, until POD_BYTES have been read.

        Each has its status, the metadata in use and its images: a whole spec may be a megabyte.
        """
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        found: list[Manifest] = []
        read = 0
        async with self._pod_reads:
            async for items, size in self._client.pages("Pod", path_of("Pod", namespace), label_selector=labels):
                found += map(_essence, items)
                read += size
                if read >= POD_BYTES:
                    break
        return found

    async def _read(self, kind: str, path: str) -> Manifest | None:
        try:
            return await self._request("get", kind, path)
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise


def _is_followed(kind: str, live: Manifest) -> bool:
    """Whether kopf's watches deliver every change of an object, so that it may be cached. The content of Secrets and
    ConfigMaps is never kept."""
    child = kind in {*CHILDREN, *FOREIGN} and live["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) == MANAGER
    return kind == KIND or child


def _essence(pod: Manifest) -> Manifest:
    """The fields of a pod that the operator uses."""
    metadata = pod["metadata"]
    kept = {part: metadata[part] for part in _POD_METADATA if part in metadata}
    for part, names in _IN_USE.items():
        found = {name: metadata[part][name] for name in names if name in metadata.get(part, {})}
        if found:
            kept[part] = found
    images = {
        part: [{field: one[field] for field in ("name", "image") if field in one} for one in containers]
        for part in ("initContainers", "containers")
        if (containers := pod.get("spec", {}).get(part))
    }
    return {"metadata": kept, "spec": images, "status": pod.get("status", {})}
