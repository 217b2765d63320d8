"""What a resource may ask for by default, and the standards compared with those of the API server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from integration.operator.api import RefusedError, has
from integration.operator.samples import (
    NAME,
    account,
    make_available,
    resource,
    with_label,
)
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.pod_security import Standard, breaches
from rochallor_operator.names import CHILDREN
from rochallor_operator.spec.worker import parse
from waiting import wait_until

if TYPE_CHECKING:
    from integration.operator.api import Api, Object


def pod(**fields: Any) -> Object:
    return {"template": {"spec": fields}}


def worker(**fields: Any) -> Object:
    return pod(containers=[{"name": "worker", **fields}])


def context(**fields: Any) -> Object:
    return worker(securityContext=fields)


def pod_context(**fields: Any) -> Object:
    return pod(securityContext=fields)


def probe(host: str) -> Object:
    return {"httpGet": {"port": 80, "host": host}, "tcpSocket": None}


GOOD: Object = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
INIT: Object = {"name": "init", "image": "init:1"}
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/worker"
HOST_PATH = pod(volumes=[{"name": "tmp", "hostPath": {"path": "/"}}])

CASES: dict[str, Object] = {
    "as it is": {},
    "host network": pod(hostNetwork=True),
    "host processes": pod(hostPID=True, shareProcessNamespace=False),
    "host IPC": pod(hostIPC=True),
    "not the host's network": pod(hostNetwork=False),
    "host path": HOST_PATH,
    "another host path": pod(volumes=[{"name": "more", "hostPath": {"path": "/var"}}]),
    "nfs": pod(volumes=[{"name": "more", "nfs": {"server": "nfs", "path": "/"}}]),
    "host port": worker(ports=[{"containerPort": 8000, "hostPort": 80}]),
    "a port": worker(ports=[{"containerPort": 8000}]),
    "privileged": context(privileged=True, allowPrivilegeEscalation=True),
    "a privileged init container": pod(initContainers=[INIT | {"securityContext": {"privileged": True}}]),
    "an init container without limits": pod(initContainers=[INIT]),
    "a restricted init container": pod(initContainers=[INIT | {"securityContext": GOOD}]),
    "a sidecar": pod(containers=[{"name": "sidecar", "image": "sidecar:1"}]),
    "a restricted sidecar": pod(containers=[{"name": "sidecar", "image": "sidecar:1", "securityContext": GOOD}]),
    "a sidecar as root": pod(
        containers=[{"name": "sidecar", "image": "sidecar:1", "securityContext": GOOD | {"runAsNonRoot": False}}]
    ),
    "a sidecar as user 0": pod(
        containers=[{"name": "sidecar", "image": "sidecar:1", "securityContext": GOOD | {"runAsUser": 0}}]
    ),
    "an added capability": context(capabilities={"add": ["SYS_ADMIN"]}),
    "all capabilities": context(capabilities={"add": ["ALL"]}),
    "a harmless capability": context(capabilities={"add": ["CHOWN"]}),
    "a low port": context(capabilities={"add": ["NET_BIND_SERVICE"]}),
    "no capability dropped": context(capabilities={"drop": None}),
    "some dropped": context(capabilities={"drop": ["NET_RAW"]}),
    "escalation": context(allowPrivilegeEscalation=True),
    "escalation unsaid": context(allowPrivilegeEscalation=None),
    "masked /proc": context(procMount="Default"),
    "root": pod_context(runAsNonRoot=False),
    "user 0": pod_context(runAsUser=0, runAsNonRoot=False),
    "root said by the container": context(runAsNonRoot=False),
    "not root said by the container alone": pod(
        securityContext={"runAsNonRoot": None},
        containers=[{"name": "worker", "securityContext": {"runAsNonRoot": True}}],
    ),
    "root unsaid": pod_context(runAsNonRoot=None),
    "no context": pod(securityContext=None),
    "unconfined": pod_context(seccompProfile={"type": "Unconfined"}),
    "unconfined container": context(seccompProfile={"type": "Unconfined"}),
    "a profile of the node": pod_context(seccompProfile={"type": "Localhost", "localhostProfile": "mine.json"}),
    "no profile": pod_context(seccompProfile=None),
    "AppArmor off": pod_context(appArmorProfile={"type": "Unconfined"}),
    "AppArmor off in a container": context(appArmorProfile={"type": "Unconfined"}),
    "AppArmor": pod_context(appArmorProfile={"type": "RuntimeDefault"}),
    "AppArmor off by annotation": {"template": {"metadata": {"annotations": {APP_ARMOR: "unconfined"}}}},
    "AppArmor by annotation": {"template": {"metadata": {"annotations": {APP_ARMOR: "runtime/default"}}}},
    "AppArmor of the node": {"template": {"metadata": {"annotations": {APP_ARMOR: "localhost/mine"}}}},
    "SELinux type": pod_context(seLinuxOptions={"type": "spc_t"}),
    "SELinux type of containers": context(seLinuxOptions={"type": "container_t"}),
    "SELinux user": pod_context(seLinuxOptions={"user": "root"}),
    "SELinux role": context(seLinuxOptions={"role": "sysadm_r"}),
    "SELinux level": pod_context(seLinuxOptions={"level": "s0:c1"}),
    "a sysctl": pod_context(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    "a safe sysctl": pod_context(sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1 2 3"}]),
    "a probe of another host": worker(livenessProbe=probe("169.254.169.254")),
    "a hook of another host": worker(lifecycle={"preStop": probe("db")}),
    "a TCP probe of another host": worker(readinessProbe={"httpGet": None, "tcpSocket": {"port": 80, "host": "db"}}),
    "a probe": worker(livenessProbe=probe("")),
    "volumes": pod(
        volumes=[
            {"name": "a", "emptyDir": {}},
            {"name": "b", "configMap": {"name": "b"}},
            {"name": "c", "secret": {"secretName": "c"}},
            {"name": "d", "downwardAPI": {"items": []}},
            {"name": "e", "projected": {"sources": [{"secret": {"name": "e"}}]}},
        ]
    ),
}
STANDARDS: tuple[Standard, ...] = ("baseline", "restricted")


def refused(api: Api, template: Object) -> bool:
    """Whether the API server's own standard, as the namespace enforces it, refuses a pod."""
    metadata = template["metadata"] | {"generateName": "any-"}
    spec = template["spec"] | {"serviceAccountName": "default"}
    try:
        api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, dryRun="All")
    except RefusedError as error:
        if "violates PodSecurity" in str(error):
            return True
        raise
    return False


@pytest.mark.parametrize("standard", STANDARDS)
def test_the_standards_are_the_api_servers_own(api: Api, standard: Standard) -> None:
    label = {"pod-security.kubernetes.io/enforce": standard}
    api.patch("Namespace", api.namespace, {"metadata": {"labels": label}})
    api.until_the("ServiceAccount", "default", lambda _: True)  # without it, each pod is refused
    templates = {case: pod_template(parse(stored(api, spec)), "worker:1") for case, spec in CASES.items()}
    wait_until(partial(refused, api, templates["privileged"]))
    ours = [case for case, template in templates.items() if next(breaches(template, standard), None)]
    theirs = [case for case, template in templates.items() if refused(api, template)]
    assert ours == theirs


def stored(api: Api, spec: Object) -> Object:
    """The resource as the API server would store it."""
    return api.create(resource(**spec), dryRun="All", fieldValidation="Strict")


@pytest.mark.usefixtures("operator")
def test_by_default_nothing_of_a_privileged_pod_is_applied(api: Api) -> None:
    api.create(resource(**HOST_PATH))
    sentence = "spec.template.spec.volumes[tmp].hostPath breaks the operator's templatePolicy 'baseline': remove it"
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "PolicyViolation", sentence))
    assert has("Ready", "False", "PolicyViolation", sentence)(live)
    ours = [item for kind in CHILDREN for item in api.every(kind) if item["metadata"]["name"] != "default"]
    assert ours == []
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    make_available(api, 1)
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))


@pytest.mark.usefixtures("operator")
def test_an_account_is_opened_by_its_label(api: Api) -> None:
    api.create(account("admin"))
    api.create(resource(**pod(serviceAccountName="admin")))
    sentence = "ServiceAccount 'admin' breaks the operator's templatePolicy 'baseline'"
    words = (sentence, "it needs the label rochallor.io/for-workers=true")
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "PolicyViolation", *words))
    assert api.get("Deployment", NAME) is None
    api.replace("ServiceAccount", "admin", with_label(account("admin")))
    api.until_the("Deployment", NAME, lambda _: True)
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
