"""The second Deployment, whose pods try a new version."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from rochallor_operator.names import (
    CANARY_LABEL,
    REVISION_LABEL,
    WORKER_CONTAINER,
    WORKER_LABEL,
    Manifest,
    canary_name,
    selector,
)

_PARALLELISM: Final = "ROCHALLOR_PARALLELISM"


def canary(worker: str, wish: Manifest, revision: str, replicas: int) -> Manifest:
    """The canary for the Deployment that the spec asks for.

    Its pods lack the label that the stable Deployment selects by: two Deployments must not count the same pods.
    """
    ours = {CANARY_LABEL: worker}
    template = wish["spec"]["template"]
    labels = {name: value for name, value in template["metadata"]["labels"].items() if name != WORKER_LABEL}
    pod = template["spec"]
    if "topologySpreadConstraints" in pod:
        spread = [_among(rule, selector(worker), ours) for rule in pod["topologySpreadConstraints"]]
        pod = pod | {"topologySpreadConstraints": spread}
    head = template["metadata"] | {"labels": labels | ours | {REVISION_LABEL: revision}}
    spec = wish["spec"] | {
        "replicas": replicas,
        "selector": {"matchLabels": ours},
        "template": template | {"metadata": head, "spec": pod},
    }
    return wish | {"metadata": wish["metadata"] | {"name": canary_name(worker)}, "spec": spec}


def _among(rule: Manifest, stable: Manifest, ours: Manifest) -> Manifest:
    """A rule on how pods are spread, for the canary's pods where it is one for the stable pods."""
    own = rule.get("labelSelector") == {"matchLabels": stable}
    return rule | {"labelSelector": {"matchLabels": ours}} if own else rule


def revision_of(live: Manifest | None) -> str | None:
    """The version that a live canary tries."""
    labels = live["spec"]["template"]["metadata"].get("labels", {}) if live is not None else {}
    revision: str | None = labels.get(REVISION_LABEL)
    return revision


def slots(template: Manifest) -> int:
    """How many jobs a pod of a template runs at the same time."""
    for container in template["spec"]["containers"]:
        for variable in container.get("env", []) if container["name"] == WORKER_CONTAINER else []:
            if variable["name"] == _PARALLELISM:
                return int(variable["value"])
    return 1


def pods_for(share: Fraction, stable_slots: int, slots_per_pod: int) -> int:
    """How many canary pods bring its share of all slots closest to this one, at least 1. None beside no stable pods."""
    if stable_slots == 0:
        return 0
    below = int(share * stable_slots / ((1 - share) * slots_per_pod))

    def distance(pods: int) -> Fraction:
        return abs(share_of(pods * slots_per_pod, stable_slots) - share)

    return max(1, min(below, below + 1, key=distance))


def share_of(canary: int, stable: int) -> Fraction:
    """The canary's share of all slots, or of all partitions."""
    return Fraction(canary, max(1, canary + stable))
