"""What kopf watches: every event only puts a key into the work queue.

kopf keeps nothing on the resources this way: no annotation, no finalizer. The listing with which each watch starts is
an event per object, so nothing is lost while the operator is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import kopf

from rochallor_operator.names import GROUP, MANAGED_BY_LABEL, MANAGER, PLURAL, SERVICE_SUFFIX, VERSION
from rochallor_operator.reconcile import Key, Reconciler

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

    from rochallor_operator.queue import WorkQueue

ROOT_CA: Final = "kube-root-ca.crt"
"""Kubernetes keeps a ConfigMap of this name in every namespace; nobody's handlers are in it."""


def registry(queue: WorkQueue[Key], reconciler: Reconciler, configuration: Configuration) -> kopf.OperatorRegistry:
    """The handlers: which events wake which resource."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(configuration)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def resource(**event: Any) -> None:
        queue.add(Key(event["namespace"], event["name"]))

    # A child is told by its name, which can't be edited away as its labels and owner can.
    @kopf.on.event("apps", "v1", "deployments", registry=handlers)
    async def deployment(**event: Any) -> None:
        queue.add(Key(event["namespace"], event["name"]))

    @kopf.on.event("", "v1", "services", registry=handlers)
    async def service(**event: Any) -> None:
        queue.add(Key(event["namespace"], event["name"].removesuffix(SERVICE_SUFFIX)))

    @kopf.on.event("", "v1", "configmaps", registry=handlers)
    async def config_map(**event: Any) -> None:
        for key in reconciler.users_of(event["namespace"], event["name"]):
            queue.add(key)

    return handlers


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
    ours = f"{MANAGED_BY_LABEL}={MANAGER}"
    values.watching.label_selectors["apps", "v1", "deployments"] = ours
    values.watching.label_selectors["", "v1", "services"] = ours
    values.watching.field_selectors["", "v1", "configmaps"] = f"metadata.name!={ROOT_CA}"
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
