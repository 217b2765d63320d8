"""What kopf watches: every event only puts a key into the work queue.

kopf keeps nothing on the resources this way: no annotation, no finalizer. The listing with which each watch starts is
an event per object, so nothing is lost while the operator is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import kopf

from rochallor_operator.names import (
    APIS,
    CHILDREN,
    FOREIGN,
    GROUP,
    MANAGED_BY_LABEL,
    MANAGER,
    PLURAL,
    VERSION,
    Key,
    worker_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubernetes.aio.client import Configuration

    from rochallor_operator.queue import WorkQueue
    from rochallor_operator.reconcile import Reconciler

ROOT_CA: Final = "kube-root-ca.crt"
"""Kubernetes keeps a ConfigMap of this name in every namespace; nobody's handlers are in it."""
HELM_RELEASE: Final = "helm.sh/release.v1"
"""The type of Helm's own Secrets: many, big, and nobody's pods use them. (kopf can't watch only objects' metadata.)"""


def registry(
    queue: WorkQueue[Key], reconciler: Reconciler, configuration: Configuration, served: Sequence[str]
) -> kopf.OperatorRegistry:
    """The handlers: which events wake which resource. served are those of the FOREIGN kinds that this cluster knows."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(configuration)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def resource(**event: Any) -> None:
        queue.add(Key(event["namespace"], event["name"]))

    for kind in (*CHILDREN, *served):
        _on_child(kind, handlers, queue, reconciler)
    for kind in ("ConfigMap", "Secret"):
        _on_source(kind, handlers, queue, reconciler)

    return handlers


def _on_child(kind: str, handlers: kopf.OperatorRegistry, queue: WorkQueue[Key], reconciler: Reconciler) -> None:
    @kopf.on.event(*APIS[kind], id=kind, registry=handlers)
    async def child(**event: Any) -> None:
        # A child is told by its name, which can't be edited away as its labels and owner can.
        if reconciler.hear(kind, event["event"]["object"], gone=event["type"] == "DELETED"):
            queue.add(Key(event["namespace"], worker_name(kind, event["name"])))


def _on_source(kind: str, handlers: kopf.OperatorRegistry, queue: WorkQueue[Key], reconciler: Reconciler) -> None:
    @kopf.on.event(*APIS[kind], id=kind, registry=handlers)
    async def source(**event: Any) -> None:
        for key in reconciler.users_of(kind, event["namespace"], event["name"]):
            queue.add(key)


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings: bounded waits, nothing written to the cluster, and only what concerns us watched."""
    values = kopf.OperatorSettings()
    values.posting.enabled = False
    values.scanning.disabled = True  # the CRD is there before kopf starts; no right to list CRDs is needed
    values.watching.server_timeout = 120
    values.watching.client_timeout = 150
    values.watching.connect_timeout = 5
    values.networking.request_timeout = 10
    values.watching.chunk_size = 500  # a cluster's ConfigMaps at once would need much memory
    for kind in (*CHILDREN, *FOREIGN):
        values.watching.label_selectors[APIS[kind]] = f"{MANAGED_BY_LABEL}={MANAGER}"
    values.watching.field_selectors["", "v1", "configmaps"] = f"metadata.name!={ROOT_CA}"
    values.watching.field_selectors["", "v1", "secrets"] = f"type!={HELM_RELEASE}"
    return values


async def _connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same credentials for kopf. It asks again when the API server no longer takes them."""
    authorization = await configuration.get_api_key_with_prefix("BearerToken") or ""
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme="Bearer" if authorization else None,
        token=authorization.partition(" ")[2] or None,
    )
