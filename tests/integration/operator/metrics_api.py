"""A metrics adapter: serves to HorizontalPodAutoscalers what a test says, behind the API server."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing import Self

    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api, Object

NAME = "metrics-adapter"
GROUPS: dict[str, list[str]] = {"custom.metrics.k8s.io": ["pods/*"], "external.metrics.k8s.io": []}
NOW = "2026-01-01T00:00:00Z"


class MetricsApi:
    """Serves during a `with` block. A metric whose value is None is unknown."""

    def __init__(self, control_plane: ControlPlane, api: Api) -> None:
        self.of_pods: dict[str, str | None] = {}
        """Values by name; each pod of the namespace has the same."""
        self.external: dict[str, str | None] = {}
        self._api = api
        self._server = ThreadingHTTPServer(("", 0), self._handler())
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(control_plane.folder / "api.crt", control_plane.folder / "api.key")
        self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        port = self._server.server_port
        spec = {"ports": [{"name": "https", "port": 443, "targetPort": port}]}
        self._api.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": spec})
        ports = [{"name": "https", "port": port, "protocol": "TCP"}]
        labels = {"kubernetes.io/service-name": NAME}
        self._api.create(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": NAME, "labels": labels},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": [_own_address()], "conditions": {"ready": True}}],
            }
        )
        for group in GROUPS:
            self._api.create(_api_service(group, self._api.namespace))
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, path: str) -> Object | None:
        """The answer to a GET; None for an unknown metric, and for ways of discovery that are not served."""
        group, _, rest = path.removeprefix("/apis/").partition("/v1beta1")
        if group not in GROUPS:
            return None
        head: Object = {"apiVersion": f"{group}/v1beta1"}
        if not rest:
            kinds = [{"name": name, "namespaced": True, "kind": "", "verbs": ["get"]} for name in GROUPS[group]]
            return {
                "apiVersion": "v1",
                "kind": "APIResourceList",
                "groupVersion": f"{group}/v1beta1",
                "resources": kinds,
            }
        metric = rest.rpartition("/")[2]
        if group.startswith("external"):
            value = self.external.get(metric)
            items: list[Object] = [{"metricName": metric, "metricLabels": {}, "timestamp": NOW, "value": value}]
            return head | {"kind": "ExternalMetricValueList", "metadata": {}, "items": items} if value else None
        value = self.of_pods.get(metric)
        objects = [
            {"kind": "Pod", "namespace": self._api.namespace, "name": pod["metadata"]["name"], "apiVersion": "/v1"}
            for pod in self._api.every("Pod")
        ]
        items = [{"describedObject": each, "metricName": metric, "timestamp": NOW, "value": value} for each in objects]
        return head | {"kind": "MetricValueList", "metadata": {}, "items": items} if value else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answer(urlsplit(self.path).path)
                body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Log nothing per request."""

        return Handler


def _own_address() -> str:
    """This machine's address: Kubernetes takes no loopback address for an endpoint. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _api_service(group: str, namespace: str) -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1beta1.{group}"},
        "spec": {
            "group": group,
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": NAME, "namespace": namespace},
        },
    }
