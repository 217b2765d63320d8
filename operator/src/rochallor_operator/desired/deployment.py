"""The Deployment that runs a worker's pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.merge import merge
from rochallor_operator.desired.metadata import metadata
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.names import CONFIG_HASH, Manifest, selector

if TYPE_CHECKING:
    from rochallor_operator.spec import Worker


def deployment(worker: Worker, default_image: str, config_hash: str | None) -> Manifest:
    """The worker's Deployment; without replicas when an autoscaler decides on them.

    default_image is used when the spec names none; config_hash is the hash of the Secrets and ConfigMaps that the pods
    use, None when they use none. Raises InvalidSpecError as pod_template does.
    """
    template = pod_template(worker, default_image)
    if config_hash is not None:
        template = merge(template, {"metadata": {"annotations": {CONFIG_HASH: config_hash}}})
    spec: Manifest = {} if worker.replicas is None else {"replicas": worker.replicas}
    spec |= {
        "selector": {"matchLabels": selector(worker.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "template": template,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(worker, worker.name),
        "spec": spec,
    }
