"""`why` names faults as the operator, the API server and pods' pages show them; no pod really runs."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from cluster import programs
from integration.operator.api import has
from integration.operator.samples import NAME, make_available, pods, replicas, resource
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.why import kubectl
from rochallor_worker.why.gather import gather
from rochallor_worker.why.kubectl import Kubectl
from rochallor_worker.why.verdict import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def why(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verdict]:
    """Ask why an instance with a step of a job type does not move on."""
    folder = Path(programs.tool("kubectl")).parent
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    monkeypatch.setattr(kubectl, "SECONDS", 60)  # other tests run beside this one

    async def ask(job_type: str) -> Verdict:
        engine = FakeEngine()
        steps = [
            {"id": "charge", "name": "Charge", "type": "SERVICE_TASK", "jobType": job_type, "nextStep": "e"},
            {"id": "e", "name": "E", "type": "END"},
        ]
        await engine.upload_definition({"id": "order", "name": "Order", "steps": steps})
        await engine.start_instance("order", business_key="order-1")
        return verdict(await gather(engine, "order-1", Kubectl(api.namespace), ()))

    return lambda job_type="charge-card": asyncio.run(ask(job_type))


def missing_secret() -> Object:
    return resource(engine={"url": "http://engine:8080", "tokenSecret": {"name": "nowhere", "key": "token"}})


@pytest.mark.parametrize(
    ("manifest", "condition", "named"),
    [
        (resource(suspend=True), ("Ready", "True", "Suspended"), "Suspended"),
        (resource(replicas=0), ("Ready", "True", "ScaledToZero"), "ScaledToZero: no pods, because spec.replicas is 0"),
        (missing_secret(), ("Degraded", "True", "SecretNotFound"), "SecretNotFound"),
        (
            resource(handlers={"configMap": {"name": "nowhere", "module": "handlers:registry"}}),
            ("Degraded", "True", "ConfigMapNotFound"),
            "ConfigMapNotFound",
        ),
        (
            resource(template={"spec": {"hostNetwork": True}}),
            ("Degraded", "True", "PolicyViolation"),
            "PolicyViolation",
        ),
    ],
)
def test_what_the_resource_says_is_named(
    api: Api, why: Callable[..., Verdict], manifest: Object, condition: tuple[str, str, str], named: str
) -> None:
    api.create(manifest)
    api.until_the("RochallorWorker", NAME, has(*condition))
    found = why()
    assert (found.state, found.unknown) == ("stops", ())
    assert f"{api.namespace}/{NAME}: {named}" in found.why


def test_a_job_type_that_nobody_serves(api: Api, why: Callable[..., Verdict]) -> None:
    assert "no worker takes jobs of type 'charge-card'" in why().why
    api.create(resource())
    assert "'charge-card' is served: is one of them misspelt?" in why("charge-crad").why


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"state": {"waiting": {"reason": "ErrImagePull", "message": "…"}}}, "ImagePullBackOff"),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}}, "CrashLoopBackOff"),
    ],
)
def test_a_pod_that_does_not_start(api: Api, why: Callable[..., Verdict], state: dict[str, Any], reason: str) -> None:
    api.create(resource())
    api.until_the("Deployment", NAME, replicas(1))
    [pod] = pods(api)
    container = {"name": "worker", "image": "worker:1", "imageID": "", "ready": False, "restartCount": 1, **state}
    api.patch(
        "Pod", pod["metadata"]["name"], {"status": {"phase": "Pending", "containerStatuses": [container]}}, "/status"
    )
    api.until_the("RochallorWorker", NAME, has("Ready", "False", reason))
    found = why()
    assert (found.state, found.page) == ("stops", f"troubleshooting.md#{reason.lower()}")
    assert pod["metadata"]["name"] in found.why


class _Page(BaseHTTPRequestHandler):
    """Answers /status.json as a worker would."""

    said: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        body = json.dumps(self.said).encode()
        self.send_response(200 if self.path == "/status.json" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A worker's page at an address of this machine; the API server connects to none that is a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("10.255.255.255", 9))  # sends nothing
        address = outward.getsockname()[0]
    with HTTPServer((address, 0), _Page) as server:
        monkeypatch.setattr(kubectl, "PAGE_PORT", server.server_port)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield address
        server.shutdown()
        serving.join()


def test_what_a_pod_does_is_asked_through_the_api_server(
    api: Api, why: Callable[..., Verdict], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create(resource())
    make_available(api, 1)
    [pod] = pods(api)
    name = pod["metadata"]["name"]
    api.patch("Pod", name, {"status": {"podIP": page, "podIPs": [{"ip": page}]}}, "/status")
    served, slots = {"name": "charge-card"}, {"total": 4, "busy": 1}
    for said, named in (
        ({"slots": slots, "types": [served]}, "has room for its job"),
        ({"slots": {"total": 4, "busy": 4}, "types": [served]}, "all 4 slots"),
        ({"slots": slots, "types": [served | {"breaker": "open", "reason": "no route"}]}, "no route"),
        ({"slots": slots, "types": [served | {"parallelism": 1, "running": 1}]}, "as many as its limit allows"),
        ({"slots": slots, "types": []}, "its version of the worker does not take 'charge-card'"),
        ({"problem": "TransportMismatch: over Kafka", "slots": slots, "types": [served]}, "TransportMismatch"),
    ):
        monkeypatch.setattr(_Page, "said", said)
        found = why()
        assert named in found.why
        assert name in found.why
        assert found.unknown == ()


def test_a_pod_that_cannot_be_asked_is_named(api: Api, why: Callable[..., Verdict]) -> None:
    api.create(resource())
    make_available(api, 1)
    found = why()
    assert (found.state, "could not all be asked" in found.why) == ("unknown", True)
    [pod] = pods(api)
    assert [said for said in found.unknown if pod["metadata"]["name"] in said] == list(found.unknown)
    assert [link.what for link in found.chain] == ["instance", "step", "job type", "worker", "pod"]


def test_a_quota_keeps_pods_from_being_created(api: Api, why: Callable[..., Verdict]) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    api.create(quota)
    api.until_the("ResourceQuota", "none", lambda live: "hard" in live.get("status", {}))
    api.create(resource())
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "QuotaExceeded"))
    assert "QuotaExceeded" in why().why


def test_an_api_server_that_is_away_is_named(
    api: Api, why: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.create(resource())
    config = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(config))
    config.write_text("apiVersion: v1\nkind: Config\n")
    found = why()
    assert (found.state, len(found.unknown)) == ("unknown", 1)
