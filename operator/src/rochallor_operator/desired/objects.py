"""Everything that should exist for a worker, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from rochallor_operator.desired.autoscaling import autoscaler
from rochallor_operator.desired.companions import (
    copies,
    disruption_budget,
    pod_monitor,
    scale,
    service,
    service_account,
)
from rochallor_operator.desired.deployment import Content, deployment
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.references import Reference, database, references

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Worker


@dataclass(frozen=True)
class Desired:
    """The objects of a worker, in the order in which they are applied; autoscaler and pod_monitor may be empty."""

    worker: Worker
    default_image: str
    template: Manifest
    """The pod template without the hashes of what the pods use."""
    uses: list[Reference]
    """The Secrets and ConfigMaps that the pods use."""
    database: list[Reference]
    """The Secret with the connection string of the engine's database, which the operator reads."""
    copies: list[Manifest]
    """The Secrets with what a connection of the cluster lends."""
    account: Manifest
    companions: list[Manifest]
    """The Service and the PodDisruptionBudget."""
    scale: Manifest | None
    """The ConfigMap with the number of ready pods, if a limit needs it."""
    autoscaler: list[Manifest]
    """The autoscaler itself last, after the objects that it needs."""
    pod_monitor: list[Manifest]

    @property
    def kinds(self) -> set[str]:
        """Kinds of the objects beside the Deployment."""
        return {item["kind"] for item in [self.account, *self.companions, *self.autoscaler, *self.pod_monitor]}

    def deployment(self, content: Content) -> Manifest:
        """The Deployment whose pods use this version of their Secrets and ConfigMaps."""
        return deployment(self.worker, self.default_image, content)


def desired(
    worker: Worker,
    default_image: str,
    live: Manifest | None,
    canary: Manifest | None = None,
    lent: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Desired:
    """What should exist for a worker; live is the Deployment as it is now, canary that of a version on trial, lent what
    a connection of the cluster lends.

    Raises InvalidSpecError when no pod template can be made of the spec.
    """
    template = pod_template(worker, default_image)
    return Desired(
        worker,
        default_image,
        template,
        references(worker, template),
        database(worker),
        copies(worker, lent),
        service_account(worker),
        [service(worker), *disruption_budget(worker)],
        scale(worker, live, canary),
        autoscaler(worker, stopped=live is not None and live["spec"].get("replicas") == 0),
        pod_monitor(worker),
    )
