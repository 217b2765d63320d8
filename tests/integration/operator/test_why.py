"""`why` names faults as the operator, the API server and pods' pages show them; no pod really runs.

e2e/test_why.py has those of real pods.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from cluster import programs
from integration.operator.api import has
from integration.operator.samples import NAME, make_available, pods, replicas, resource
from pages import has_section
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.why import kubectl
from rochallor_worker.why.gather import gather
from rochallor_worker.why.kubectl import Kubectl
from rochallor_worker.why.verdict import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from integration.operator.api import Api, Object
    from integration.operator.process import Operator

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
        (
            resource(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}),
            ("Degraded", "True", "InvalidSpec"),
            "InvalidSpec",
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
    assert found.page == f"troubleshooting.md#{condition[2].lower()}"
    assert has_section(found.page)


def test_a_job_type_that_nobody_serves(api: Api, why: Callable[..., Verdict]) -> None:
    assert "no worker takes jobs of type 'charge-card'" in why().why
    api.create(resource())
    assert "'charge-card' is served: is one of them misspelt?" in why("charge-crad").why


def container(**state: Any) -> dict[str, Any]:
    """The status of a pod whose container is in a state."""
    worker = {"name": "worker", "image": "worker:1", "imageID": "", "ready": False, "restartCount": 1, "state": state}
    return {"containerStatuses": [worker]}


RUNNING = container(running={"startedAt": "2026-01-01T00:00:00Z"})
UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (container(waiting={"reason": "ErrImagePull", "message": "…"}), "ImagePullBackOff"),
        (container(waiting={"reason": "CrashLoopBackOff"}), "CrashLoopBackOff"),
        ({"phase": "Pending", "conditions": [UNSCHEDULED]}, "Unschedulable"),
    ],
)
def test_a_pod_that_does_not_start(api: Api, why: Callable[..., Verdict], status: dict[str, Any], reason: str) -> None:
    api.create(resource())
    api.until_the("Deployment", NAME, replicas(1))
    [pod] = pods(api)
    api.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")
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


SERVED = {"name": "charge-card"}
PROBLEM = "troubleshooting.md#"
ON_THE_PAGE: list[tuple[dict[str, Any], str, str]] = [
    ({}, "has room for its job", ""),
    ({"slots": {"total": 4, "busy": 4}}, "is free, of 4", "production.md#rochallorworkersaturated"),
    ({"types": [SERVED | {"breaker": "open", "reason": "no route"}]}, "no route", PROBLEM + "breakeropen"),
    ({"types": [SERVED | {"parallelism": 1, "running": 1}]}, "as its limit allows: 1", "operator.md#limits"),
    ({"types": []}, "its version of the worker does not take 'charge-card'", PROBLEM + "rollingout"),
    ({"problem": "TransportMismatch: over Kafka"}, "TransportMismatch: over Kafka", PROBLEM + "transportmismatch"),
    ({"problem": "TopicNotFound: no topic for it"}, "TopicNotFound: no topic for it", PROBLEM + "topicnotfound"),
    ({"problem": "Draining: no more jobs are taken"}, "Draining: no more jobs", PROBLEM + "draining"),
]
"""What a pod says, what must be named, and where to read on."""


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
    api.patch("Pod", name, {"status": {"podIP": page, "podIPs": [{"ip": page}]} | RUNNING}, "/status")
    for said, named, where in ON_THE_PAGE:
        monkeypatch.setattr(_Page, "said", {"slots": {"total": 4, "busy": 1}, "types": [SERVED], **said})
        found = why()
        assert named in found.why
        assert name in found.why
        assert (found.page, found.unknown) == (where, ())
        assert not where or has_section(where)


def test_a_pod_that_cannot_be_asked_is_named(api: Api, why: Callable[..., Verdict]) -> None:
    api.create(resource())
    make_available(api, 1)
    [pod] = pods(api)
    api.patch("Pod", pod["metadata"]["name"], {"status": RUNNING}, "/status")
    found = why()
    assert (found.state, "could not all be asked" in found.why) == ("unknown", True)
    assert [said for said in found.unknown if pod["metadata"]["name"] in said] == list(found.unknown)
    assert [link.what for link in found.chain] == ["instance", "step", "job type", "worker", "pod"]


def test_a_quota_keeps_pods_from_being_created(api: Api, why: Callable[..., Verdict]) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    api.create(quota)
    api.until_the("ResourceQuota", "none", lambda live: "hard" in live.get("status", {}))
    api.create(resource())
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "QuotaExceeded"))
    found = why()
    assert (found.state, found.page) == ("stops", "troubleshooting.md#quotaexceeded")
    assert "QuotaExceeded" in found.why


def test_no_operator_has_seen_the_resource(api: Api, operator: Operator, why: Callable[..., Verdict]) -> None:
    operator.process.send_signal(signal.SIGSTOP)
    try:
        api.create(resource())
        found = why()
    finally:
        operator.process.send_signal(signal.SIGCONT)
    assert (found.state, found.page) == ("stops", "production.md#rochalloroperatordown")
    assert f"{api.namespace}/{NAME}: no operator has seen its last change" in found.why
    assert has_section(found.page)


def test_an_api_server_that_is_away_is_named(
    api: Api, why: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.create(resource())
    config = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(config))
    config.write_text("apiVersion: v1\nkind: Config\n")
    found = why()
    assert (found.state, len(found.unknown)) == ("unknown", 1)
