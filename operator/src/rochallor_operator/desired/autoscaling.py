"""The autoscaler of a worker: a HorizontalPodAutoscaler (hpa.py), or KEDA's objects (keda.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.hpa import horizontal_pod_autoscaler
from rochallor_operator.desired.keda import scaled_object, trigger_authentication

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Worker


def autoscaler(worker: Worker, *, stopped: bool = False) -> list[Manifest]:
    """The objects in the order in which they are applied, the autoscaler itself last; none without autoscaling.

    `stopped`: the Deployment is scaled to zero now.
    """
    wish = worker.autoscaling
    if wish is None:
        return []
    if wish.provider == "hpa":
        return [horizontal_pod_autoscaler(worker, wish)]
    authentication = trigger_authentication(worker, wish)
    return [*([authentication] if authentication is not None else []), scaled_object(worker, wish, stopped=stopped)]
