"""The chart as helm renders it. (That it installs, and that its rights are enough, every other test here shows.)"""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster import programs
from integration.operator.conftest import CHART, helm, listed
from integration.operator.process import SYSTEM
from rochallor_operator.names import APIS, KIND, METRICS_PORT, OPTIONAL, labels
from waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api, Object

RELEASE = version("rochallor-operator")
CRDS = CHART.parents[1] / "crds"


def render(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A helm that was built from source assumes a very old Kubernetes.
    command = [programs.tool("helm"), "template", "release", str(CHART), "--kube-version", "1.37.0", "-n", SYSTEM]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def objects(*arguments: str) -> list[Object]:
    done = render(*arguments)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def only(kind: str, *arguments: str) -> Object:
    (found,) = [manifest for manifest in objects(*arguments) if manifest["kind"] == kind]
    return found


def test_lint() -> None:
    command = [programs.tool("helm"), "lint", "--strict", str(CHART)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_the_crds_are_the_files_and_are_kept() -> None:
    sources = [yaml.safe_load(file.read_text()) for file in sorted(CRDS.glob("*.yaml"))]
    rendered = [manifest for manifest in objects() if manifest["kind"] == "CustomResourceDefinition"]
    for crd in rendered:
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert sorted(rendered, key=lambda crd: crd["metadata"]["name"]) == sources
    assert len(sources) == 3
    kinds = {manifest["kind"] for manifest in objects("--set", "crds.install=false")}
    rights = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
    assert kinds == rights | {"ServiceAccount", "Deployment", "Pod"}


def container(*arguments: str) -> Object:
    found: Object = only("Deployment", *arguments)["spec"]["template"]["spec"]["containers"][0]
    return found


def test_images_default_to_the_release() -> None:
    assert container()["image"] == f"rochallor/rochallor-operator:{RELEASE}"
    variable = {"name": "ROCHALLOR_OPERATOR_WORKER_IMAGE", "value": f"rochallor/rochallor-worker:{RELEASE}"}
    assert variable in container()["env"]
    mine = container("--set", "image.repository=mine/operator,image.tag=v2,workerImage=mine/worker:3")
    assert mine["image"] == "mine/operator:v2"
    assert {"name": "ROCHALLOR_OPERATOR_WORKER_IMAGE", "value": "mine/worker:3"} in mine["env"]


def test_the_workers_image_comes_from_the_operators_repository() -> None:
    """From a mirror, too; a tag set for the operator alone does not apply to the worker."""
    mirror = variables("--set", "image.repository=mirror.example.com/x/rochallor-operator,image.tag=v2")
    assert mirror["ROCHALLOR_OPERATOR_WORKER_IMAGE"] == f"mirror.example.com/x/rochallor-worker:{RELEASE}"
    done = render("--set", "image.repository=mine/operator")
    assert done.returncode != 0
    assert "set workerImage" in done.stderr


def test_the_pods_go_where_they_are_put() -> None:
    placed = "nodeSelector.disk=ssd,tolerations[0].key=infra,imagePullSecrets[0].name=registry,affinity.podAffinity.x=1"
    placed += ",priorityClassName=high"
    fields = {
        "priorityClassName": "high",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "infra"}],
        "imagePullSecrets": [{"name": "registry"}],
        "affinity": {"podAffinity": {"x": 1}},
    }
    for pod in (only("Deployment", "--set", placed)["spec"]["template"], only("Pod", "--set", placed)):
        assert fields.items() <= pod["spec"].items()
    assert not fields.keys() & only("Deployment")["spec"]["template"]["spec"].keys()


def test_the_account_has_the_annotations_it_is_given() -> None:
    given = only("ServiceAccount", "--set-string", r"serviceAccount.annotations.iam\.gke\.io/a=b")
    assert given["metadata"]["annotations"] == {"iam.gke.io/a": "b"}
    assert "annotations" not in only("ServiceAccount")["metadata"]


def test_the_log_level() -> None:
    assert variables()["ROCHALLOR_OPERATOR_LOG_LEVEL"] == "INFO"
    assert variables("--set", "logLevel=DEBUG")["ROCHALLOR_OPERATOR_LOG_LEVEL"] == "DEBUG"


def test_two_replicas_are_spread_and_survive_a_drain() -> None:
    two = ("--set", "replicas=2")
    deployment, budget = only("Deployment", *two)["spec"], only("PodDisruptionBudget", *two)["spec"]
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == budget["selector"] == deployment["selector"]
    assert budget["maxUnavailable"] == 1
    # a budget for a single pod would forbid every drain, or mean nothing
    assert "PodDisruptionBudget" not in {manifest["kind"] for manifest in objects()}


def variables(*arguments: str) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(*arguments)["env"] if "value" in item}


def roles(*arguments: str) -> dict[str, list[Object]]:
    """The rules of all Roles by namespace."""
    found: dict[str, list[Object]] = {}
    for manifest in objects(*arguments):
        if manifest["kind"] == "Role":
            found.setdefault(manifest["metadata"]["namespace"], []).extend(manifest["rules"])
    return found


def test_named_namespaces_need_no_cluster_wide_rights() -> None:
    named = ("--set", "watchNamespaces={a,b}")
    assert {manifest["kind"] for manifest in objects(*named) if "Role" in manifest["kind"]} == {"Role", "RoleBinding"}
    found = roles(*named)
    assert set(found) == {"a", "b", SYSTEM}
    assert variables(*named)["ROCHALLOR_OPERATOR_NAMESPACES"] == "a,b"
    # In its own namespace it may use only its ConfigMap, its key, and a Lease of that name.
    assert {resource for rule in found[SYSTEM] for resource in rule["resources"]} == {"configmaps", "secrets", "leases"}


def test_its_own_namespace_may_be_one_of_those_that_it_serves() -> None:
    found = [item for item in objects("--set", f"watchNamespaces={{{SYSTEM}}}") if item["kind"] == "Role"]
    assert len({item["metadata"]["name"] for item in found}) == len(found) == 2
    given = [
        (resource, verb)
        for item in found
        for rule in item["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert len(given) == len(set(given)), "a right is given twice"


def test_one_replica_is_replaced_and_more_elect_a_leader() -> None:
    alone, two = only("Deployment")["spec"], only("Deployment", "--set", "replicas=2")["spec"]
    assert (alone["replicas"], alone["strategy"]) == (1, {"type": "Recreate"})
    assert (two["replicas"], two["strategy"]) == (2, {"type": "RollingUpdate"})
    assert "ROCHALLOR_OPERATOR_LEADER_ELECTION" not in variables()
    assert variables("--set", "replicas=2")["ROCHALLOR_OPERATOR_LEADER_ELECTION"] == "true"

    def leases(*arguments: str) -> list[Object]:
        return [rule for rule in roles(*arguments)[SYSTEM] if "leases" in rule["resources"]]

    assert [rule["verbs"] for rule in leases()] == [["get", "update"]], "to release one of an earlier release"
    named = [rule["resourceNames"] for rule in leases("--set", "replicas=2") if rule["verbs"] == ["get", "update"]]
    assert named == [[variables()["ROCHALLOR_OPERATOR_NAME"]]]


def test_users_who_may_edit_a_namespace_may_have_workers_there(cluster: Api) -> None:
    """The controller manager adds the chart's roles to the built-in ones."""

    def verbs(role: Object, resource: str) -> set[str]:
        found = [rule for rule in role["rules"] or [] if resource in rule["resources"]]
        return {verb for rule in found for verb in rule["verbs"]}

    read = {"get", "list", "watch"}
    write = {"create", "update", "patch", "delete", "deletecollection"}

    def given(role: Object) -> list[set[str]]:
        kinds = ("rochallorworkers", "engineconnections", "clusterengineconnections", "rochallorworkers/scale")
        return [verbs(role, kind) for kind in kinds]

    writer = [read | write, read | write, read, read | {"update", "patch"}]
    # One role of the chart is added after the other.
    cluster.until_the("ClusterRole", "view", lambda live: given(live) == [read] * 4)
    cluster.until_the("ClusterRole", "edit", lambda live: given(live) == writer)
    cluster.until_the("ClusterRole", "admin", lambda live: given(live) == writer)


def test_edit_is_left_alone_on_request() -> None:
    def aggregated(*arguments: str) -> dict[str, list[str]]:
        roles = [item["metadata"] for item in objects(*arguments) if item["kind"] == "ClusterRole"]
        found = {role["name"]: role["labels"] for role in roles}
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        names = ("release-rochallor-operator-edit", "release-rochallor-operator-view")
        return {
            role: [label.removeprefix(prefix) for label in found[role] if label.startswith(prefix)] for role in names
        }

    readers = ["admin", "edit", "view"]
    assert list(aggregated().values()) == [["admin", "edit"], readers]
    assert list(aggregated("--set", "aggregateToEdit=false").values()) == [[], readers]


@pytest.mark.parametrize(
    ("value", "kinds"), [("keda", {"ScaledObject", "TriggerAuthentication"}), ("podMonitors", {"PodMonitor"})]
)
def test_kinds_that_are_left_out_need_no_right(value: str, kinds: set[str]) -> None:
    def resources(*arguments: str) -> set[str]:
        found = [item["rules"] for item in objects(*arguments) if item["kind"] in {"Role", "ClusterRole"}]
        return {resource for rules in found for rule in rules for resource in rule["resources"]}

    off = ("--set", f"{value}=false")
    assert resources() - resources(*off) == {APIS[kind].plural for kind in kinds}
    variable = {"keda": "KEDA", "podMonitors": "POD_MONITORS"}[value]
    assert [variables(*where)[f"ROCHALLOR_OPERATOR_{variable}"] for where in ((), off)] == ["true", "false"]


def test_databases_are_read_unless_said_otherwise() -> None:
    name = "ROCHALLOR_OPERATOR_BACKLOG"
    assert (variables()[name], variables("--set", "backlog=false")[name]) == ("true", "false")


def rights(kind: str, *arguments: str) -> set[tuple[str, str]]:
    """What the chart's roles of a kind allow: pairs of a resource and a verb."""
    rules = [rule for item in objects(*arguments) if item["kind"] == kind for rule in item["rules"]]
    return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def test_secrets_are_written_for_connections_of_the_cluster_only_when_that_is_asked_for() -> None:
    on = ("--set", "clusterConnections.copySecrets=true")
    more = rights("ClusterRole", *on) - rights("ClusterRole")
    assert more == {("secrets", verb) for verb in ("create", "patch", "delete")}
    assert rights("Role", *on) == rights("Role")
    name = "ROCHALLOR_OPERATOR_COPY_SECRETS"
    assert (variables()[name], variables(*on)[name]) == ("false", "true")


def test_named_namespaces_have_no_connections_of_the_cluster() -> None:
    named = ("--set", "watchNamespaces={a,b}")
    connections = {("engineconnections", verb) for verb in ("get", "list", "watch")}
    of_the_cluster = {("clusterengineconnections", "watch"), ("namespaces", "watch")}
    assert connections | of_the_cluster <= rights("ClusterRole")
    given = rights("Role", *named)
    assert connections <= given
    assert not {resource for resource, _ in given} & {"clusterengineconnections", "namespaces"}
    assert rights("Role", *named, "--set", "clusterConnections.copySecrets=true") == given


@pytest.mark.parametrize("where", [(), ("--set", "watchNamespaces={a,b}")], ids=["all", "named"])
def test_secrets_can_not_be_listed_where_they_are_not_watched(where: tuple[str, ...]) -> None:
    def verbs(*arguments: str) -> set[str]:
        rules = [
            rule for item in objects(*where, *arguments) if "Role" in item["kind"] for rule in item.get("rules", [])
        ]
        return {verb for rule in rules if "secrets" in rule["resources"] for verb in rule["verbs"]}

    off = ("--set", "watchSecrets=false")
    assert verbs() - verbs(*off) == {"list", "watch"}
    names = [variables(*where, *arguments)["ROCHALLOR_OPERATOR_WATCH_SECRETS"] for arguments in ((), off)]
    assert names == ["true", "false"]


def test_a_network_policy_lets_the_operator_do_its_work(api: Api) -> None:
    """The API server accepts it, and its labels and ports are those of the pods. (No node here enforces one.)"""
    assert "NetworkPolicy" not in {manifest["kind"] for manifest in objects()}
    on = ("--set", "networkPolicy.enabled=true")
    policy, pod = only("NetworkPolicy", *on), only("Deployment", *on)["spec"]["template"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    [served] = pod["spec"]["containers"][0]["ports"]
    ports = [{"port": served["containerPort"], "protocol": "TCP"}]
    assert policy["spec"]["ingress"] == [{"ports": ports, "from": [monitoring]}]
    dns, server, workers = policy["spec"]["egress"]
    assert {(item["port"], item["protocol"]) for item in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert ([item["port"] for item in server["ports"]], "to" in server) == ([443, 6443], False)
    [to] = workers["to"]
    assert ([item["port"] for item in workers["ports"]], to["namespaceSelector"]) == ([METRICS_PORT], {})
    assert to["podSelector"]["matchLabels"].items() <= labels("payments").items()
    del policy["metadata"]["namespace"]
    api.create(policy, fieldValidation="Strict")


def test_a_network_policy_may_be_narrower() -> None:
    on = ("--set", "networkPolicy.enabled=true,watchNamespaces={a,b},networkPolicy.apiServerPorts={8443}")
    policy = only("NetworkPolicy", *on, "--set-json", "networkPolicy.metricsFrom=[]")["spec"]
    assert "ingress" not in policy
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    _, server, workers = policy["egress"]
    assert [item["port"] for item in server["ports"]] == [8443]
    served = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}
    assert workers["to"][0]["namespaceSelector"] == {"matchExpressions": [served]}


def test_templates_are_baseline_unless_said_otherwise() -> None:
    name = "ROCHALLOR_OPERATOR_TEMPLATE_POLICY"
    assert (variables()[name], variables("--set", "templatePolicy=any")[name]) == ("baseline", "any")


def test_the_pod_may_do_little() -> None:
    pod = only("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    rules = next(item for item in objects() if item["kind"] == "ClusterRole")["rules"]
    assert not [rule for rule in rules if "*" in rule["verbs"] + rule["resources"] + rule["apiGroups"]]
    verbs: dict[str, set[str]] = {}
    for rule in rules:
        for resource in rule["resources"]:
            verbs.setdefault(resource, set()).update(rule["verbs"])
    assert verbs["secrets"] == {"get", "list", "watch"}
    assert verbs["configmaps"] == {"get", "list", "watch", "create", "patch", "delete"}
    # Only optional children, copies of handlers, the number of pods and what canary rollouts leave can be deleted.
    assert {resource for resource, allowed in verbs.items() if "delete" in allowed} == {
        "configmaps",
        "controllerrevisions",
        "deployments",
        *(APIS[kind].plural for kind in OPTIONAL),
    }
    own = roles()[SYSTEM]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in own if "secrets" in rule["resources"]] == [
        (["get"], [f"{variables()['ROCHALLOR_OPERATOR_NAME']}-hash-key"]),
        (["create"], None),
    ]


@pytest.mark.parametrize("where", [(), ("--set", "watchNamespaces={a,b}")], ids=["all", "named"])
def test_pods_may_be_changed_only_when_that_is_asked_for(where: tuple[str, ...]) -> None:
    def verbs(*arguments: str) -> list[list[str]]:
        found = [item["rules"] for item in objects(*where, *arguments) if item["kind"] in {"Role", "ClusterRole"}]
        return [rule["verbs"] for rules in found for rule in rules if "pods" in rule["resources"]]

    count = 2 if where else 1
    assert verbs() == [["list"]] * count
    assert verbs("--set", "patchPods=true") == [["list", "patch"]] * count


@pytest.mark.parametrize(
    ("setting", "where"), [("", ""), ("watchNamespaces={a,b}", "namespaces/a/ namespaces/b/")], ids=["all", "named"]
)
def test_helm_test_checks_where_the_operator_serves(setting: str, where: str) -> None:
    pod = only("Pod", *(["--set", setting] if setting else []))
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert " ".join(pod["spec"]["containers"][0]["args"][1:]) == where
    matched = only("Deployment")["spec"]["selector"]["matchLabels"]
    assert not matched.items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("replicas=0", "minimum: got 0, want 1"),
        ("image.pullPolicy=Often", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("watchNamespaces=a", "got string, want array"),
        ("watchNamespaces={A_b}", "does not match pattern"),
        ("logLevel=LOUD", "value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ("templatePolicy=none", "value must be one of 'restricted', 'baseline', 'any'"),
        ("imagePullSecrets={registry}", "got string, want object"),
        ("image=null", "missing property 'image'"),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(setting: str, sentence: str) -> None:
    done = render("--set", setting)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_the_crd_survives_an_uninstall(cluster: Api, control_plane: ControlPlane) -> None:
    """Installed, removed and installed again: the CRD stays and is taken over."""
    helm(control_plane, "uninstall", "rochallor-operator")
    assert cluster.get("CustomResourceDefinition", "rochallorworkers.rochallor.io") is not None
    helm(control_plane, "install", "rochallor-operator", str(CHART))


def test_a_kept_crd_is_handed_to_a_release_of_another_name(cluster: Api, control_plane: ControlPlane) -> None:
    """As docs/troubleshooting.md and the chart's notes say it."""
    helm(control_plane, "uninstall", "rochallor-operator")
    with pytest.raises(AssertionError, match="cannot be imported into the current release: invalid ownership metadata"):
        helm(control_plane, "install", "other", str(CHART))
    helm(control_plane, "install", "other", str(CHART), "--set", "crds.install=false")
    helm(control_plane, "uninstall", "other")
    helm(control_plane, "install", "other", str(CHART), "--take-ownership")
    helm(control_plane, "uninstall", "other")
    helm(control_plane, "install", "rochallor-operator", str(CHART), "--take-ownership")
    assert cluster.get("CustomResourceDefinition", "rochallorworkers.rochallor.io") is not None


@pytest.mark.parametrize("before", ["nothing", "a release that leaves the CRD alone"])
def test_a_crd_of_kubectl_is_taken_over(cluster: Api, control_plane: ControlPlane, before: str) -> None:
    """As after `kubectl apply -f crds/`, by an install and by an upgrade (docs/production.md). Its workers stay."""
    helm(control_plane, "uninstall", "rochallor-operator")
    name = "rochallorworkers.rochallor.io"
    helms: Object = dict.fromkeys(("meta.helm.sh/release-name", "meta.helm.sh/release-namespace"))
    labels: Object = {"app.kubernetes.io/managed-by": None}
    uid = cluster.patch("CustomResourceDefinition", name, {"metadata": {"annotations": helms, "labels": labels}})[
        "metadata"
    ]["uid"]
    if before != "nothing":
        helm(control_plane, "install", "rochallor-operator", str(CHART), "--set", "crds.install=false")
    upgrade = ("upgrade", "--install", "rochallor-operator", str(CHART), "--reset-values")
    with pytest.raises(AssertionError, match="invalid ownership metadata"):
        helm(control_plane, *upgrade)
    helm(control_plane, *upgrade, "--take-ownership")
    live = cluster.the("CustomResourceDefinition", name)["metadata"]
    assert (live["uid"], live["annotations"]["meta.helm.sh/release-name"]) == (uid, "rochallor-operator")


def test_an_upgrade_installs_the_new_crd(cluster: Api, control_plane: ControlPlane, tmp_path: Path) -> None:
    """From a chart whose CRD lacks a field; nobody has to apply a CRD by hand."""
    old = tmp_path / "rochallor-operator"
    shutil.copytree(CHART, old)
    file = old / "files" / "rochallorworkers.rochallor.io.yaml"
    definition = yaml.safe_load(file.read_text())
    del _spec_fields(definition)["journal"]
    file.write_text(yaml.safe_dump(definition))
    helm(control_plane, "upgrade", "rochallor-operator", str(old))
    live = cluster.the("CustomResourceDefinition", "rochallorworkers.rochallor.io")
    assert "journal" not in _spec_fields(live)
    helm(control_plane, "upgrade", "rochallor-operator", str(CHART))
    live = cluster.the("CustomResourceDefinition", "rochallorworkers.rochallor.io")
    assert "journal" in _spec_fields(live)
    wait_until(partial(listed, cluster, KIND))  # a changed kind gets a new store


def _spec_fields(definition: Object) -> Object:
    (version,) = definition["spec"]["versions"]
    fields: Object = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return fields
