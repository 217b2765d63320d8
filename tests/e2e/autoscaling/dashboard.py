"""The queries of the Grafana dashboard, sent to a real Prometheus."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx

from cluster import monitoring, product

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

FILE = product.CHART / "files" / "dashboard.json"
KAFKA, BACKLOG = "Kafka: ", "Backlog: "
"""The start of the headings of panels that have data only with Kafka, and only with the engine's database."""
TIMEOUT_S = 120.0
POLL_S = 1.0


def until_it_shows(kubectl: Kubectl, worker: str, only: str | None = None) -> None:
    """Wait until each query has data for a worker in the namespace of `kubectl`: those of the panels whose headings
    start with `only`, or by default those that every worker has."""
    queries = []
    for panel in json.loads(FILE.read_text())["panels"]:
        if next((start for start in (KAFKA, BACKLOG) if panel["title"].startswith(start)), None) == only:
            queries += [_filled_in(target["expr"], kubectl.namespace, worker) for target in panel["targets"]]
    assert queries
    gives_up_at = time.monotonic() + TIMEOUT_S
    with kubectl.within(monitoring.NAMESPACE).port_forward("service/prometheus", 9090) as url:
        for query in queries:
            while not _result(url, query):
                assert time.monotonic() < gives_up_at, f"no data: {query}"
                time.sleep(POLL_S)


def _filled_in(query: str, namespace: str, worker: str) -> str:
    """Replace the variables of a query as Grafana does."""
    for variable, value in (("$namespace", namespace), ("$worker", worker), ("$__rate_interval", "1m")):
        query = query.replace(variable, value)
    return query


def _result(url: str, query: str) -> Any:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).raise_for_status()
    return answer.json()["data"]["result"]
