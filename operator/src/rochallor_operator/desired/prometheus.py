"""KEDA's triggers on the workers' metrics in Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.spec.sections import seconds

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.sections import Prometheus
    from rochallor_operator.spec.worker import Worker


def secrets(prometheus: Prometheus) -> list[Manifest]:
    """The credentials as parameters of a TriggerAuthentication."""
    token, user, tls = prometheus.token_secret, prometheus.credentials_secret, prometheus.tls
    found: list[tuple[str, str, str]] = []
    if token is not None:
        found.append(("bearerToken", token.name, token.key))
    if user is not None:
        found += [("username", user, "username"), ("password", user, "password")]
    if tls.ca_secret is not None:
        found.append(("ca", tls.ca_secret, "ca.crt"))
    if tls.client_cert_secret is not None:
        found += [("cert", tls.client_cert_secret, "tls.crt"), ("key", tls.client_cert_secret, "tls.key")]
    return [{"parameter": parameter, "name": name, "key": key} for parameter, name, key in found]


def busy_trigger(worker: Worker, prometheus: Prometheus, target: int, *, stopped: bool) -> Manifest:
    """Scales on how many pods the busy slots would fill, so that `target` percent are busy, from the same metric that a
    HorizontalPodAutoscaler uses.

    A rate of busy time would need two scrapes inside its window, and would show new load only as the window fills.
    """
    query = f"sum(rochallor_worker_utilization_ratio{{{_pods(worker)}}})"
    return _trigger(worker, prometheus, query, target / 100, stopped=stopped)


def wait_trigger(worker: Worker, prometheus: Prometheus, target: str, *, stopped: bool) -> Manifest:
    """Scales in proportion to how long jobs wait on average: twice the target, twice the pods."""
    query = f"avg(rochallor_worker_recent_wait_seconds{{{_pods(worker)}}})"
    return _trigger(worker, prometheus, query, seconds(target), stopped=stopped) | {"metricType": "Value"}


def _pods(worker: Worker) -> str:
    """The labels of the worker's pods, for PromQL."""
    # Kubernetes truncates a pod's name before its last five characters: a long name has no dash there.
    return f'namespace="{worker.namespace}",pod=~"{worker.name}-[a-z0-9]+(-[a-z0-9]{{5}})?"'


def _trigger(worker: Worker, prometheus: Prometheus, query: str, threshold: float, *, stopped: bool) -> Manifest:
    metadata = {
        "serverAddress": prometheus.address,
        # Without pods there is no series, and KEDA's fallback would start a pod. With pods, one that is not scraped may
        # be busy: a missing value must not count as 0, which would stop it.
        "query": f"{query} or vector(0)" if stopped else query,
        "threshold": str(threshold),
        "ignoreNullValues": "false",
    }
    if prometheus.headers:
        metadata["customHeaders"] = ",".join(f"{header.name}={header.value}" for header in prometheus.headers)
    trigger: Manifest = {"type": "prometheus", "metadata": metadata}
    if secrets(prometheus):
        metadata["authModes"] = ",".join(_modes(prometheus))
        trigger["authenticationRef"] = {"name": worker.name}
    return trigger


def _modes(prometheus: Prometheus) -> list[str]:
    """Which credentials KEDA uses. It has no mode for a CA alone, which it uses beside any other."""
    modes = {
        "bearer": prometheus.token_secret,
        "basic": prometheus.credentials_secret,
        "tls": prometheus.tls.client_cert_secret,
    }
    return [mode for mode, secret in modes.items() if secret is not None]
