"""The Deployment that runs a worker's pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rochallor_operator.desired.merge import merge
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.names import CODE_HASH, CONFIG_HASH, Manifest, metadata, selector

if TYPE_CHECKING:
    from rochallor_operator.spec.worker import Worker


class Content(NamedTuple):
    """A version of the Secrets and ConfigMaps that pods use."""

    config: str | None = None
    """Hash of the Secrets and ConfigMaps whose changes replace the pods; None when they use none."""
    code: str | None = None
    """Hash of the handlers in a ConfigMap, None when they are elsewhere."""


NO_CONTENT: Final = Content()


def content_of(live: Manifest | None) -> Content:
    """The version that a live Deployment's pods use."""
    head = live["spec"]["template"]["metadata"] if live is not None else {}
    return Content(head.get("annotations", {}).get(CONFIG_HASH), head.get("labels", {}).get(CODE_HASH))


def deployment(worker: Worker, default_image: str, content: Content = NO_CONTENT) -> Manifest:
    """The worker's Deployment, without replicas when an autoscaler sets them.

    default_image is used when the spec names none. Raises InvalidSpecError as pod_template does.
    """
    template = pod_template(worker, default_image, content.code)
    if content.config is not None:
        template = merge(template, {"metadata": {"annotations": {CONFIG_HASH: content.config}}})
    if content.code is not None and worker.spec.handlers.config_map is not None:
        template = merge(template, {"metadata": {"labels": {CODE_HASH: content.code}}})
    wish = worker.spec
    steps = {"maxSurge": wish.max_surge, "maxUnavailable": wish.max_unavailable}
    spec: Manifest = {} if worker.replicas is None else {"replicas": worker.replicas}
    spec |= {
        "selector": {"matchLabels": selector(worker.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": steps},
        "minReadySeconds": wish.min_ready_seconds,
        "progressDeadlineSeconds": wish.progress_deadline_seconds,
        "template": template,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(worker, worker.name),
        "spec": spec,
    }
