"""Every right that the chart gives is needed: without it something fails, with a message that names it.

(That the rights are enough, every other test here shows: their operators have no others.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pytest

from cluster.controlplane import ControlPlane
from integration.operator.api import Api, has
from integration.operator.conftest import ACCOUNT, CHART, account_kubeconfig, installed
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import (
    KEDA,
    MONITORED,
    NAME,
    code,
    code_version,
    connection,
    hpa,
    play_kubelet,
    replicas,
    resource,
    secret,
    with_config_map,
    with_label,
)
from integration.operator.test_chart import objects
from rochallor_operator.names import APIS, KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from integration.operator.api import Object

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("known")]


class Right(NamedTuple):
    """One verb on one resource; names are the only objects that it is for."""

    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()

    @property
    def rule(self) -> Object:
        """The rule that gives it alone."""
        rule: Object = {"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]}
        return rule | ({"resourceNames": list(self.names)} if self.names else {})

    @property
    def refusal(self) -> str:
        """The API server's message without it."""
        if self.resource.endswith("/finalizers"):
            return "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
        return f'cannot {self.verb} resource "{self.resource}"'

    @property
    def for_watching(self) -> bool:
        """Whether it is needed to watch objects, not to reconcile. Of some kinds objects are only listed."""
        listed = {"pods", "replicasets", "controllerrevisions"}
        return self.verb in {"list", "watch"} and self.resource not in listed


def rights(rules: list[Object]) -> list[Right]:
    return [
        Right(group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def rules_of(kind: str, namespace: str | None, *arguments: str) -> list[Right]:
    """The rights that the chart gives the operator in one place. namespace is None for the whole cluster."""
    found = [item for item in objects(*arguments) if item["kind"] == kind and not _of_users(item)]
    return rights(next(item["rules"] for item in found if item["metadata"].get("namespace") == namespace))


def _of_users(role: Object) -> bool:
    """Whether it is added to the roles of users."""
    return any("aggregate-to" in label for label in role["metadata"]["labels"])


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """A cluster that enforces what some do: blockOwnerDeletion needs rights on the owner."""
    with ControlPlane("--enable-admission-plugins=OwnerReferencesPermissionEnforcement") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> Iterator[Api]:
    with installed(control_plane) as api:
        yield api


def create_account(system: Api, name: str) -> None:
    system.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})


def grant(api: Api, account: str, given: list[Right], kind: str = "Role") -> None:
    """Give an account of the operator's namespace rights: in a namespace, or everywhere when kind is ClusterRole."""
    group = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{group}/v1", "metadata": {"name": account}}
    api.create(head | {"kind": kind, "rules": [right.rule for right in given]})
    subject = {"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}
    role = {"apiGroup": group, "kind": kind, "name": account}
    api.create(head | {"kind": f"{kind}Binding", "roleRef": role, "subjects": [subject]})


@pytest.fixture
def places(cluster: Api) -> Iterator[Callable[[], Api]]:
    """Makes fresh namespaces. They go with the control plane."""
    with ExitStack() as stack:

        def make() -> Api:
            name = f"test-{uuid4().hex[:8]}"
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            return stack.enter_context(Api(cluster.kubeconfig, name))

        yield make


OF_THE_CLUSTER = {"clusterengineconnections", "clusterengineconnections/status", "namespaces"}
"""What belongs to no namespace. Without a right to it, an operator has no ClusterEngineConnections."""
COPYING = ("--set", "clusterConnections.copySecrets=true")


def test_each_mode_gives_the_same_rights_where_it_serves() -> None:
    served = rules_of("Role", "a", "--set", "watchNamespaces={a,b}")
    everywhere = rules_of("ClusterRole", None)
    assert served == [right for right in everywhere if right.resource not in OF_THE_CLUSTER]
    given = rules_of("ClusterRole", None, *COPYING)
    assert len(given) == len(set(given)), "a right is given twice"


# Without these there is no condition: the operator can't write one, or has none for it.
IN_THE_LOG = {
    Right("", "events", "create"),
    Right("", "pods", "list"),
    Right("apps", "deployments", "get"),
    Right("rochallor.io", "rochallorworkers", "get"),
    Right("rochallor.io", "rochallorworkers/status", "patch"),
    Right("rochallor.io", "engineconnections/status", "patch"),
}
TO_COPY = {Right("", "secrets", verb) for verb in ("create", "patch", "delete")}


def test_a_reconcile_without_a_right_says_so(cluster: Api, kubeconfig: Path, places: Callable[[], Api]) -> None:
    """A namespace for each right, in which the operator has all others."""
    every = rules_of("ClusterRole", None, *COPYING)
    listening = [right for right in every if right.for_watching or right.resource in OF_THE_CLUSTER]
    needed = [right for right in every if right not in listening]
    assert set(needed) > IN_THE_LOG | TO_COPY
    cluster.replace("ClusterRole", ACCOUNT, {"rules": [right.rule for right in listening]})
    with Api(cluster.kubeconfig, SYSTEM) as system:
        system.create(with_label(secret("lent", token="t")))
        grant(system, ACCOUNT, [Right("", "secrets", "get")])
    cluster.create(for_all(tokenSecret={"name": "lent", "key": "token"}))
    lacking = [(places(), right) for right in needed]
    for api, right in lacking:
        grant(api, ACCOUNT, [other for other in needed if other != right])
    with Operator(kubeconfig, worker_image="worker:test", copy_secrets="true") as operator:
        operator.event("watching")
        for api, right in lacking:
            create_all(api, right)
        for api, right in lacking:
            provoke(api, right)
        for api, right in lacking:
            if right in IN_THE_LOG:
                group, namespace = right.group, api.namespace
                words = f'{right.refusal} in API group "{group}" in the namespace "{namespace}"'
                operator.until(partial(mentions, words))
            else:
                api.until_the(KIND, NAME, partial(refused, right=right))

        cluster.replace("ClusterRole", ACCOUNT, {"rules": [right.rule for right in every]})
        left = [api for api, _ in lacking if api.get(KIND, NAME)]
        for api in left:
            api.patch(KIND, NAME, {"spec": {"drainTimeout": "5s", "engineRef": None}})
        for api in left:
            api.until_the(KIND, NAME, has("Degraded", "False", "Healthy"))


FOR_CANARIES = {
    Right("apps", "deployments", "delete"),
    *(Right("apps", "controllerrevisions", verb) for verb in ("get", "list", "create", "delete")),
}


def for_all(**engine: Any) -> Object:
    """A connection of the cluster for all namespaces."""
    wish = connection("main", "ClusterEngineConnection", **engine)
    wish["spec"]["namespaceSelector"] = {}
    return wish


def create_all(api: Api, right: Right) -> None:
    """A resource that asks for everything there is."""
    api.create(connection())
    api.create(code())
    api.create(secret("db", dsn="postgres://"))
    api.create(secret("token", token="t"))
    engine = {"url": "http://engine:8080", "tokenSecret": {"name": "token", "key": "token"}}
    budget: Object = {"disruptionBudget": {"maxUnavailable": 1}}
    scaling = KEDA if right.group == "keda.sh" else {"autoscaling": hpa()}
    wish = with_config_map()
    limits: Object = {"limits": [{"jobType": "charge-card", "perSecond": 5, "scope": "resource"}]}
    wish["spec"] |= {"engine": engine, "minReadySeconds": 0} | limits | budget | scaling | MONITORED
    # one that is there has just been seen, and isn't read
    wish["spec"]["engineRef"] = {"name": "missing" if right.resource == "engineconnections" else "main"}
    if right in FOR_CANARIES:
        wish["spec"]["rollout"] = {"strategy": "Canary"}
    if right in TO_COPY:
        del engine["tokenSecret"]
        wish["spec"]["engineRef"]["kind"] = "ClusterEngineConnection"
    api.create(wish)


def provoke(api: Api, right: Right) -> None:
    """Do what the right is for, where creating the resource doesn't."""
    if right == Right("", "configmaps", "delete"):
        live = until_rolled_out(api)
        api.patch("Deployment", NAME, {"spec": {"revisionHistoryLimit": 0}})
        # When the first change is rolled out, the old ReplicaSet may still be there for a moment, and with it its copy.
        for number in range(2):
            api.patch(KIND, NAME, {"spec": {"parallelism": number + 1}})  # no pause between changes of the code
            api.patch("ConfigMap", "code", {"data": {"handlers.py": f"registry = {number}"}})
            live = until_rolled_out(api, after=code_version(live))
    elif right in FOR_CANARIES and right.verb == "delete":
        api.until_the(KIND, NAME, lambda live: "rollout" in live.get("status", {}))
        api.patch(KIND, NAME, {"spec": {"parallelism": 2}})
        api.until_the("Deployment", f"{NAME}-canary", lambda _: True)
        api.replace(KIND, NAME, {"spec": resource()["spec"]})
    elif right == Right("", "secrets", "delete"):
        copy = f"{NAME}-engine-copy"
        api.until_the("Deployment", NAME, lambda live: copy in str(live["spec"]))
        api.patch(KIND, NAME, {"spec": {"engineRef": None}})
        api.until_the("Deployment", NAME, lambda live: copy not in str(live["spec"]))
        until_rolled_out(api)  # older pods still read it
    elif right.resource == "replicasets":
        until_rolled_out(api)
    elif right.verb == "delete":
        kind = next(kind for kind, known in APIS.items() if known.plural == right.resource)
        api.until_the(kind, NAME, lambda _: True)
        api.replace(KIND, NAME, {"spec": resource()["spec"]})
    if (right.resource, right.verb) == ("rochallorworkers", "get"):
        api.until_the("Deployment", NAME, replicas(1))
        api.delete(KIND, NAME)


def until_rolled_out(api: Api, after: str = "") -> Object:
    """Let the pods run, of code after a version if one is given; the Deployment when none of another one is left."""

    def arrived(live: Object) -> bool:
        play_kubelet(api)
        counts = [live["status"].get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        observed = live["status"].get("observedGeneration") == live["metadata"]["generation"]
        return observed and counts == [1, 1, 1] and code_version(live) != after

    return api.until_the("Deployment", NAME, arrived)


def refused(live: Object, right: Right) -> bool:
    """Whether a condition names the missing right."""
    return any(right.refusal in item["message"] for item in live.get("status", {}).get("conditions", []))


def mentions(sentence: str, lines: list[Object]) -> bool:
    """Whether the log names it."""
    return sentence in str(lines)


def test_a_connection_of_the_cluster_without_a_right_says_so(
    cluster: Api, kubeconfig: Path, places: Callable[[], Api]
) -> None:
    """One operator after another, since no Role can give these rights."""
    every = rules_of("ClusterRole", None)
    own = [right for right in every if right.resource in OF_THE_CLUSTER and not right.for_watching]
    assert {right.resource for right in own} == OF_THE_CLUSTER
    if cluster.get("ClusterEngineConnection", "main") is not None:
        cluster.delete("ClusterEngineConnection", "main")  # an operator that has just started leaves a higher count
        cluster.until("ClusterEngineConnection", "main", lambda live: live is None)
    cluster.create(for_all())
    for right in own:
        cluster.replace("ClusterRole", ACCOUNT, {"rules": [other.rule for other in every if other != right]})
        api = places()
        with Operator(kubeconfig, worker_image="worker:test") as operator:
            operator.event("watching")
            name = "missing" if right.resource == "clusterengineconnections" else "main"
            api.create(resource(engineRef={"name": name, "kind": "ClusterEngineConnection"}))
            if right.verb == "patch":
                operator.until(partial(mentions, right.refusal))
            else:
                api.until_the(KIND, NAME, partial(refused, right=right))


def test_a_watch_without_a_right_says_so(cluster: Api, places: Callable[[], Api]) -> None:
    """An account for each right, which has all others, and a watch with it: of all namespaces, and of a named one."""
    named = ("--set", "watchNamespaces={a}")
    with Api(cluster.kubeconfig, SYSTEM) as system:
        place = places()
        there = {place: rules_of("Role", "a", *named), system: rules_of("Role", SYSTEM, *named)}
        with (
            Watches(cluster, system, {cluster: rules_of("ClusterRole", None)}) as everywhere,
            Watches(cluster, system, there, place.namespace) as somewhere,
        ):
            assert everywhere.silent() == somewhere.silent() == []


class Watches:
    """Watches that each lack one of the rights that are given in some places, at work in a process of their own."""

    def __init__(self, cluster: Api, system: Api, given: dict[Api, list[Right]], served: str = "") -> None:
        self.lacking = [(api, right) for api, rights in given.items() for right in rights if right.for_watching]
        kubeconfigs = []
        for number, lacks in enumerate(self.lacking):
            account = f"watch-{served}-{number}" if served else f"watch-{number}"
            create_account(system, account)
            for api, rights in given.items():
                kind = "ClusterRole" if api is cluster else "Role"
                grant(api, account, [right for right in rights if (api, right) != lacks], kind)
            kubeconfigs.append(str(account_kubeconfig(cluster, account)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "integration.operator.several_watches", served, *kubeconfigs],
            env=os.environ | {"PYTHONPATH": str(CHART.parents[1] / "tests")},
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def silent(self) -> list[Right]:
        """The rights whose lack they did not notice."""
        output, _ = self.process.communicate(timeout=400)
        assert self.process.returncode == 0
        sentences = zip(self.lacking, json.loads(output), strict=True)
        return [right for (_, right), sentence in sentences if right.refusal not in sentence]


def test_an_operator_without_a_right_in_its_own_namespace_says_so(cluster: Api) -> None:
    """None of them gets as far as to leave anything behind but the key, except the last one, which may not renew its
    lease."""
    own = rules_of("Role", SYSTEM, "--set", "replicas=2")
    assert own[-1].verb == "update"
    name = f"release-{ACCOUNT}"
    with Api(cluster.kubeconfig, SYSTEM) as system:
        create_account(system, name)
        grant(system, name, [])
        kubeconfig = account_kubeconfig(cluster, name)
        for right in own:
            system.replace("Role", name, {"rules": [other.rule for other in own if other != right]})
            elects = str(right.resource == "leases").lower()
            with Operator(kubeconfig, name=name, leader_election=elects) as operator:
                operator.until(partial(mentions, right.refusal))
