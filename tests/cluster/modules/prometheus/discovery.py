"""Prometheus' HTTP service discovery for a cluster: every running pod that has a port named metrics, and the operator.

Debian's Prometheus has no Kubernetes discovery. The labels are those that the Prometheus Operator gives to the targets
of a PodMonitor which keeps the pod label rochallor.io/worker.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PODS = "https://kubernetes.default.svc/api/v1/pods?fieldSelector=status.phase%3DRunning"
PORT = 8000


def targets() -> list[dict[str, object]]:
    """Return the pods in Prometheus' format. Raises OSError if the API server doesn't answer."""
    request = urllib.request.Request(PODS, headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"})
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=trust, timeout=5) as answer:  # noqa: S310 - a constant
        pods = json.load(answer)["items"]
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
            "labels": {
                "namespace": pod["metadata"]["namespace"],
                "pod": pod["metadata"]["name"],
                "rochallor_io_worker": pod["metadata"].get("labels", {}).get("rochallor.io/worker", ""),
            },
        }
        for pod in pods
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
        if port.get("name") == "metrics" or (port.get("name") == "http" and is_operator(pod))
    ]


def is_operator(pod: dict[str, Any]) -> bool:
    """Whether a pod is of the operator's chart, whose ServiceMonitor names that port."""
    return bool(pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "rochallor-operator")


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with the targets, or with 500: then Prometheus keeps the ones it has."""

    def do_GET(self) -> None:
        try:
            status, body = 200, json.dumps(targets()).encode()
        except OSError as error:
            status, body = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing per request."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
