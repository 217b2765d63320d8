"""Workers that can't start, or not yet: the reason is where a person looks first."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from cluster import product
from cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.kubectl import Kubectl

PODS = ("pods", "--selector=rochallor.io/worker=hello")
PROGRESSING_REASON = '{.status.conditions[?(@.type=="Progressing")].reason}'


def test_a_wrong_field_is_refused_with_a_sentence(apply_hello: Callable[..., None]) -> None:
    with pytest.raises(ClusterError, match=r"a job type has 1 to 200 letters, digits, '\.', '_' or '-'"):
        apply_hello(jobTypes=["not a job type"])


@pytest.mark.parametrize(
    ("handlers", "spec", "reason"),
    [
        pytest.param("import no_such_library\n", {}, "no_such_library", id="handlers-that-cannot-be-imported"),
        pytest.param(None, {"jobTypes": ["hello-fetch", "hello-pack"]}, "hello-pack", id="job-type-without-handler"),
    ],
)
def test_a_start_error_is_in_the_log_and_in_the_condition(
    kubectl: Kubectl, apply_hello: Callable[..., None], handlers: str | None, spec: dict[str, object], reason: str
) -> None:
    apply_hello(handlers, **spec)
    looping = f"--for=jsonpath={PROGRESSING_REASON}=CrashLoopBackOff"
    # the resource as it was then: the container starts again and again
    found = kubectl.json("wait", "rw/hello", looping, "--timeout=180s")
    conditions = {each["type"]: each for each in found["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "False"
    assert reason in conditions["Progressing"]["message"]
    assert "Traceback" not in conditions["Progressing"]["message"]
    assert reason in last_words(kubectl)


def test_a_worker_waits_for_its_engine(kubectl: Kubectl, apply_hello: Callable[..., None]) -> None:
    apply_hello()
    # by name: kubectl wait by label fails at once if nothing exists yet
    kubectl("wait", "rw/hello", "--for=jsonpath={.status.replicas}=1", "--timeout=180s")
    kubectl("wait", *PODS, "--for=jsonpath={.status.containerStatuses[0].started}=true", "--timeout=180s")
    with kubectl.port_forward("deployment/hello", 9090) as url:
        assert status(f"{url}/livez") == 200
        assert status(f"{url}/readyz") == 503
    kubectl("apply", f"--filename={product.HELLO / 'engine.yaml'}")
    kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
    (pod,) = kubectl.json("get", *PODS)["items"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def last_words(kubectl: Kubectl) -> str:
    """Return the last log line of the previous run; between two runs there is no such log for a moment."""
    gives_up_at = time.monotonic() + 60
    while True:
        try:
            log = kubectl("logs", "deployment/hello", "--previous", "--tail=1")
            return str(json.loads(log)["event"])
        except (ClusterError, ValueError):
            if time.monotonic() > gives_up_at:
                raise
            time.sleep(1)


def status(url: str) -> int:
    return httpx.get(url, timeout=60).status_code
