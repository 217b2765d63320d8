"""The examples that need only the operator, applied as they are."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
from typing import TYPE_CHECKING

import httpx

from argocd import health
from cluster import images, product, programs
from e2e.instances import run
from waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kubectl import Kubectl

EXAMPLES = images.ROOT / "examples"


def start(kubectl: Kubectl, engine: Path, worker: Path, name: str) -> None:
    """Apply both files and wait until the worker is ready."""
    kubectl("apply", f"--filename={engine}", f"--filename={worker}")
    with product.explained(kubectl, f"deployment/{name}"):
        kubectl("wait", f"rw/{name}", "--for=condition=Ready", "--timeout=180s")


def test_loan_approval(kubectl: Kubectl) -> None:
    example = EXAMPLES / "loan-approval"
    start(kubectl, EXAMPLES / "hello" / "engine.yaml", example / "worker.yaml", "loan-approval")
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:
        ada, bob, cyd = run(
            engine,
            example,
            [
                {"applicant": "Ada", "income": 52_000, "amount": 9_000},
                {"applicant": "Bob", "income": 9_000, "amount": 90_000},
                {"applicant": "Cyd", "income": 52_000},
            ],
        )
    assert (ada["status"], ada["variables"]["approved"]) == ("COMPLETED", True)
    assert (bob["status"], bob["variables"]["approved"]) == ("COMPLETED", False)
    assert (cyd["status"], cyd["failureReason"]) == ("FAILED", "NonRetryableError: the application lacks amount")
    # what a container writes is in its log a moment later
    wait_until(lambda: kubectl("logs", "deployment/loan-approval").count("decision sent") >= 2)
    log = kubectl("logs", "deployment/loan-approval")
    assert log.count("decision sent") == 2
    assert log.count("the credit bureau does not answer") >= 2
    assert health(kubectl.json("get", "rw/loan-approval"))[0] == "Healthy"


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
    start(kubectl, example / "engine.yaml", example / "worker.yaml", "private")
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
