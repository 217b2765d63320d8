"""The operator's reads and writes in Kubernetes. (kopf watches whole objects: watch/kopfwatch.py.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rochallor_operator.cluster.client import path_of
from rochallor_operator.cluster.reads import Reads
from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import API_VERSION, CONTENDER, KIND, MANAGER, REPLICAS_MANAGER, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.aio.client import Configuration

    from rochallor_operator.cluster.cache import Cache


class Kube(Reads):
    """Adds the writes, which are server-side applies where possible."""

    def __init__(self, configuration: Configuration, cache: Cache) -> None:
        super().__init__(configuration, cache)
        self.may_write: Callable[[], bool] = lambda: True
        """Called before each write to objects that several operators share; a lost leadership forbids it."""

    async def annotate_pod(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a pod, or remove them (None); nothing happens when the pod no longer exists."""
        self._check_leadership()
        change = {"metadata": {"annotations": annotations}}
        options = {"content_type": "application/merge-patch+json", "field_manager": MANAGER}
        try:
            await self._request("patch", "Pod", path_of("Pod", namespace, name), body=change, **options)
        except KubernetesError as error:
            if error.status != 404:
                raise

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply of our fields; returns the live object. A field of ours that someone else changed is
        restored; fields that others added stay."""
        return await self._apply(manifest)

    async def apply_status(self, manifest: Manifest) -> None:
        """Server-side apply of the status subresource."""
        await self._apply(manifest, subresource="/status")

    async def challenge(self, resource: Mapping[str, Any], text: str | None) -> None:
        """Set the field challenge of a resource's status, or remove it (None); the other fields stay."""
        metadata = {part: resource["metadata"][part] for part in ("namespace", "name", "uid")}
        status = {} if text is None else {"challenge": text}
        wish = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}
        await self._apply(wish, subresource="/status", manager=CONTENDER)

    async def would_accept(self, manifest: Manifest) -> bool:
        """Whether the API server would accept an object as a new one, by a dry run. Only a refusal of its content
        counts, not one by a quota or for lack of rights."""
        kind, metadata = manifest["kind"], dict(manifest["metadata"])
        metadata["generateName"] = f"{metadata.pop('name')}-"
        path = path_of(kind, metadata["namespace"])
        try:
            await self._request("create", kind, path, body=manifest | {"metadata": metadata}, dry_run="All")
        except KubernetesError as error:
            if error.status is None:
                raise
            return error.status != 422
        return True

    async def set_managed_fields(self, live: Manifest, kind: str, entries: list[Manifest]) -> None:
        """Change which manager owns which fields of an object, if it has not changed meanwhile (else status 409)."""
        self._check_leadership()
        metadata = live["metadata"]
        change = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        ]
        path = path_of(kind, metadata["namespace"], metadata["name"])
        await self._request("patch", kind, path, body=change, content_type="application/json-patch+json")

    async def hand_over_replicas(self, deployment: Manifest, replicas: int) -> Manifest:
        """Set a Deployment's replicas as another field manager; returns the live object.

        An apply removes a field that it no longer has and that nobody else owns: replicas would fall to the default of
        1. With this owner they stay as they are until the autoscaler changes them.
        """
        metadata = {part: deployment["metadata"][part] for part in ("namespace", "name", "uid")}
        wish = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}
        return await self._apply(wish, manager=REPLICAS_MANAGER)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid; nothing happens when it no longer exists."""
        self._check_leadership()
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._request("delete", kind, path_of(kind, namespace, name), body=options)
        except KubernetesError as error:
            if error.status != 404:
                raise
        finally:
            self._cache.forget(kind, namespace, name)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""
        kind = manifest["kind"]
        return await self._request("create", kind, path_of(kind, manifest["metadata"]["namespace"]), body=manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object, if it still has the resource version that the manifest names (else status 409)."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = path_of(kind, metadata["namespace"], metadata["name"])
        return await self._request("update", kind, path, body=manifest)

    async def _apply(self, manifest: Manifest, subresource: str = "", manager: str = MANAGER) -> Manifest:
        self._check_leadership()
        kind, metadata = manifest["kind"], manifest["metadata"]
        live = await self._request(
            "patch",
            kind,
            path_of(kind, metadata.get("namespace", ""), metadata["name"]) + subresource,
            body=manifest,
            content_type="application/apply-patch+yaml",
            field_manager=manager,
            force_conflicts="true",
        )
        self._cache.put(live, kind)
        self.on_answer(kind, live)
        return live

    def _check_leadership(self) -> None:
        if not self.may_write():
            raise KubernetesError(None, "this operator no longer leads")
