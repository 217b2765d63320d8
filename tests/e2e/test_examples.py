"""The examples that need only the operator, applied as they are."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import httpx

from argocd import health
from cluster import images, product, programs
from e2e.instances import run
from waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kubectl import Kubectl

EXAMPLES = images.ROOT / "examples"


def start(kubectl: Kubectl, name: str, *files: str) -> None:
    """Apply the files, or folders with a kustomization, and wait until the worker is ready."""
    kubectl("apply", *files)
    with product.explained(kubectl, f"deployment/{name}"):
        kubectl("wait", f"rw/{name}", "--for=condition=Ready", "--timeout=180s")


def test_loan_approval(kubectl: Kubectl) -> None:
    example = EXAMPLES / "loan-approval"
    kubectl("apply", f"--filename={product.HELLO / 'engine.yaml'}")
    start(kubectl, "loans", f"--kustomize={example}")
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:
        for name in ("payout.json", "approval.json"):
            engine.post("/v1/definitions", content=(example / name).read_bytes()).raise_for_status()
        applications = {
            "ada": {"applicant": "Ada", "income": 52_000, "amount": 9_000},
            "bob": {"applicant": "Bob", "income": 9_000, "amount": 90_000},
            "cyd": {"applicant": "Cyd", "income": 52_000},
        }
        for key, variables in applications.items():
            body = {"definitionId": "loan-approval", "businessKey": key, "variables": variables}
            engine.post("/v1/instances", json=body).raise_for_status()

        def ended(key: str, count: int) -> list[dict[str, Any]]:
            """Wait until so many instances with the business key have ended; return them, the oldest first."""

            def of_key() -> list[dict[str, Any]]:
                found = engine.get("/v1/instances", params={"businessKey": key}).raise_for_status().json()["items"]
                return [one for one in reversed(found) if one["status"] != "ACTIVE"]

            wait_until(lambda: len(of_key()) == count)
            return of_key()

        ada, paid = ended("ada", 2)
        bob, rejected = ended("bob", 2)
        [cyd] = ended("cyd", 1)
    assert [one["definitionId"] for one in (ada, paid)] == ["loan-approval", "loan-payout"]
    assert (ada["status"], ada["variables"]["approved"], "payment" in ada["variables"]) == ("COMPLETED", True, False)
    assert (paid["status"], "payment" in paid["variables"]) == ("COMPLETED", True)
    assert (bob["status"], bob["variables"]["approved"]) == ("COMPLETED", False)
    assert (rejected["status"], rejected["variables"]) == ("COMPLETED", bob["variables"])
    assert (cyd["status"], cyd["failureReason"]) == ("FAILED", "NonRetryableError: the application lacks amount")
    # what a container writes is in its log a moment later
    wait_until(lambda: kubectl("logs", "deployment/loans").count("decision sent") >= 2)
    log = kubectl("logs", "deployment/loans")
    assert log.count("decision sent") == 2
    assert log.count("the credit bureau does not answer") >= 2
    assert health(kubectl.json("get", "rw/loans"))[0] == "Healthy"


def test_connection(kubectl: Kubectl) -> None:
    example = EXAMPLES / "connection"
    kubectl("apply", f"--filename={EXAMPLES / 'hello' / 'engine.yaml'}", f"--filename={example / 'connection.yaml'}")
    kubectl("apply", f"--filename={example / 'worker.yaml'}")
    for name in ("pack", "label"):
        with product.explained(kubectl, f"deployment/{name}"):
            kubectl("wait", f"rw/{name}", "--for=condition=Ready", "--timeout=180s")
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:
        [parcel] = run(engine, example, [{"customer": "Ada", "items": ["pen", "ink"]}])
    assert (parcel["status"], parcel["variables"]["label"]) == ("COMPLETED", "2 pieces for Ada")
    kubectl("wait", "engineconnection/main", "--for=jsonpath={.status.workers}=2", "--timeout=60s")


def test_private_engine(kubectl: Kubectl, tmp_path: Path) -> None:
    example = EXAMPLES / "private-engine"
    make_secrets(kubectl, example / "secrets.sh", tmp_path)
    start(kubectl, "private", f"--filename={example / 'engine.yaml'}", f"--filename={example / 'worker.yaml'}")
    trusted = ssl.create_default_context(cadata=secret(kubectl, "engine-ca", "ca.crt"))
    with kubectl.port_forward("service/dev-engine", 8443) as url:
        gateway = url.replace("http://127.0.0.1", "https://localhost")
        assert httpx.get(f"{gateway}/v1/instances", verify=trusted).status_code == 401
        headers = {"Authorization": f"Bearer {secret(kubectl, 'engine-token', 'token')}"}
        with httpx.Client(base_url=gateway, verify=trusted, headers=headers) as engine:
            [instance] = run(engine, example, [{"letter": "Dear Ada"}])
    assert (instance["status"], instance["variables"]["sealed"]) == ("COMPLETED", "Dear Ada")


def make_secrets(kubectl: Kubectl, script: Path, folder: Path) -> None:
    """Run the example's script, twice, with a kubectl that is set to the test's namespace."""
    config = folder / "kubeconfig"
    config.write_text(kubectl("config", "view", "--raw"))
    environment = {**os.environ, "KUBECONFIG": str(config)}
    environment["PATH"] = f"{programs.path('kubectl').parent}:{environment['PATH']}"
    set_namespace = ["kubectl", "config", "set-context", "--current", f"--namespace={kubectl.namespace}"]
    for command in (set_namespace, [str(script)], [str(script)]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def secret(kubectl: Kubectl, name: str, key: str) -> str:
    """Return one value of a Secret."""
    return base64.b64decode(kubectl.json("get", f"secret/{name}")["data"][key]).decode()
