"""What the operator's settings allow a resource. (The standards against the API server's own: tests/integration.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from rochallor_operator.desired.autoscaling import autoscaler
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.references import references
from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import KEDA, Release
from rochallor_operator.policy import FOR_WORKERS, Policy, TemplatePolicy, breach
from rochallor_operator.reconcile import Reconciler
from rochallor_operator.runtime.queue import Result
from unit.operator.fake_kube import KEY, FakeKube
from unit.operator.samples import worker

RELEASE = Release("system/operator", "worker:1", b"key")

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

LABELLED: Manifest = {"metadata": {"labels": {FOR_WORKERS: "true"}}}
HOST_PATH: Manifest = {"template": {"spec": {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}}}
TOKEN: Manifest = {"engine": {"url": "https://engine", "tokenSecret": {"name": "gateway", "key": "token"}}}
BACKLOG: Manifest = {
    "engine": {"url": "http://engine:8080", "databaseSecret": {"name": "db", "key": "dsn"}},
    "autoscaling": {
        "maxReplicas": 5,
        "provider": "keda",
        "prometheus": {"address": "http://prometheus:9090"},
        "backlog": {},
    },
}


GUARDED: Manifest = {
    "autoscaling": {
        "maxReplicas": 5,
        "provider": "keda",
        "prometheus": {"address": "https://prometheus", "credentialsSecret": "user"},
    }
}


def triggers(**fields: Any) -> Manifest:
    """A spec with a trigger of its own."""
    trigger = {"type": "aws-sqs-queue", "metadata": {"awsEndpoint": "https://mine"}} | fields
    return {"autoscaling": {"maxReplicas": 5, "provider": "keda", "triggers": [trigger]}}


class Objects:
    """The existing objects, by kind and name."""

    def __init__(self, **live: Manifest) -> None:
        self.live = live
        self.read: list[str] = []

    async def get(self, kind: str, _namespace: str, name: str) -> Manifest | None:
        self.read.append(f"{kind} {name}")
        return self.live.get(name)


async def refusal(policy: TemplatePolicy, objects: Objects | None = None, **spec: Any) -> str | None:
    wish = worker(**spec)
    template = pod_template(wish, "worker:1")
    kube = cast("Kube", objects or Objects())
    error = await breach(kube, Policy(policy), wish, template, references(wish, template), autoscaler(wish))
    assert error is None or error.reason == "PolicyViolation"
    return None if error is None else str(error)


def container(**fields: Any) -> Manifest:
    return {"template": {"spec": {"containers": [{"name": "worker", **fields}]}}}


@pytest.mark.parametrize("policy", ["restricted", "baseline", "any"])
async def test_the_operators_own_pods_meet_every_policy(policy: TemplatePolicy) -> None:
    objects = Objects()
    assert await refusal(policy, objects) is None
    assert objects.read == []


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            HOST_PATH,
            "spec.template.spec.volumes[node].hostPath breaks the operator's templatePolicy 'baseline': remove it",
        ),
        (
            container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
            "spec.template.spec.containers[worker].securityContext.capabilities.add 'SYS_ADMIN' breaks the operator's"
            " templatePolicy 'baseline': allowed: AUDIT_WRITE, CHOWN, ",
        ),
        (  # the standard allows it for a pod with a user namespace; a worker has no use for it
            container(securityContext={"procMount": "Unmasked"}),
            "spec.template.spec.containers[worker].securityContext.procMount breaks the operator's templatePolicy"
            " 'baseline': allowed: Default",
        ),
        (
            {"template": {"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}},
            "spec.template.spec.securityContext.seccompProfile.type breaks the operator's templatePolicy 'baseline':"
            " allowed: Localhost, RuntimeDefault",
        ),
    ],
)
async def test_a_breach_names_the_field_the_policy_and_what_is_allowed(spec: Manifest, sentence: str) -> None:
    assert (await refusal("baseline", **spec) or "").startswith(sentence)
    assert await refusal("any", **spec) is None


@pytest.mark.parametrize(
    ("pod", "account"),
    [
        ({"serviceAccountName": "admin"}, "admin"),
        ({"serviceAccountName": None}, "default"),
        ({"serviceAccountName": None, "serviceAccount": "admin"}, "admin"),
    ],
)
@pytest.mark.parametrize("policy", ["restricted", "baseline"])
async def test_others_accounts_need_a_label(policy: TemplatePolicy, pod: Manifest, account: str) -> None:
    spec: Manifest = {"template": {"spec": pod}}
    sentence = (
        f"ServiceAccount {account!r} breaks the operator's templatePolicy {policy!r}:"
        " it needs the label rochallor.io/for-workers=true"
    )
    assert await refusal(policy, **spec) == sentence
    assert await refusal(policy, Objects(**{account: {"metadata": {}}}), **spec) == sentence
    assert await refusal(policy, Objects(**{account: LABELLED}), **spec) is None
    assert await refusal("any", **spec) is None


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (TOKEN, "gateway"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}}]}, "s"),
        ({"envFrom": [{"secretRef": {"name": "s"}}]}, "s"),
        ({"template": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}}, "s"),
        (
            {"template": {"spec": {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}}},
            "s",
        ),
        (BACKLOG, "db"),
        (GUARDED, "user"),
    ],
)
async def test_restricted_needs_a_label_on_secrets_too(spec: Manifest, name: str) -> None:
    """A missing Secret is refused too: it may be created later without the label, and the kubelet would mount it."""
    other: Manifest = {"metadata": {"labels": {FOR_WORKERS: "false"}}}
    for objects in (Objects(), Objects(**{name: other})):
        sentence = f"Secret {name!r} breaks the operator's templatePolicy 'restricted': it needs the label"
        assert (await refusal("restricted", objects, **spec) or "").startswith(sentence)
    assert await refusal("restricted", Objects(**{name: LABELLED}), **spec) is None
    assert await refusal("baseline", **spec) is None


@pytest.mark.parametrize(
    "volume",
    [
        {"persistentVolumeClaim": {"claimName": "theirs"}},
        {"csi": {"driver": "secrets-store.csi.k8s.io"}},
        {
            "ephemeral": {
                "volumeClaimTemplate": {"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}}}
            }
        },
        {"nfs": {"server": "nfs", "path": "/"}},
    ],
)
async def test_restricted_has_no_volumes_of_others(volume: Manifest) -> None:
    spec: Manifest = {"template": {"spec": {"volumes": [{"name": "data"} | volume]}}}
    assert "spec.template.spec.volumes[data]" in (await refusal("restricted", **spec) or "")
    assert await refusal("baseline", **spec) is None


@pytest.mark.parametrize("policy", ["restricted", "baseline"])
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"authenticationRef": {"name": "cloud", "kind": "ClusterTriggerAuthentication"}},
            "spec.autoscaling.triggers: ClusterTriggerAuthentication 'cloud' breaks the operator's templatePolicy"
            " {!r}: allowed: TriggerAuthentication",
        ),
        (
            {"metadata": {"identityOwner": "operator"}},
            "spec.autoscaling.triggers: identityOwner 'operator' breaks the operator's templatePolicy {!r}:"
            " allowed: pod",
        ),
    ],
)
async def test_credentials_of_the_cluster_are_not_lent(policy: TemplatePolicy, fields: Manifest, sentence: str) -> None:
    """KEDA would send them to an address that the spec chooses."""
    objects = Objects(cloud=LABELLED)
    assert await refusal(policy, objects, **triggers(**fields)) == sentence.format(policy)
    assert await refusal("any", **triggers(**fields)) is None


async def test_restricted_needs_a_label_on_a_triggers_credentials() -> None:
    wish = triggers(authenticationRef={"name": "queue"})
    sentence = (
        "TriggerAuthentication 'queue' breaks the operator's templatePolicy 'restricted':"
        " it needs the label rochallor.io/for-workers=true"
    )
    assert await refusal("restricted", **wish) == sentence
    assert await refusal("restricted", Objects(queue=LABELLED), **wish) is None
    assert await refusal("baseline", **wish) is None


async def test_what_a_trigger_uses_is_not_read_where_there_are_no_triggers() -> None:
    objects, wish = Objects(), worker(**triggers(authenticationRef={"name": "queue"}))
    template = pod_template(wish, "worker:1")
    policy = Policy("restricted", KEDA)
    assert await breach(cast("Kube", objects), policy, wish, template, [], autoscaler(wish)) is None
    assert objects.read == []


async def test_the_operators_own_trigger_authentication_needs_no_label() -> None:
    """But one of that name that is not the operator's does."""
    own = GUARDED["autoscaling"] | triggers(authenticationRef={"name": "payments"})["autoscaling"]
    assert await refusal("restricted", Objects(user=LABELLED), autoscaling=own) is None
    assert "TriggerAuthentication 'payments'" in (
        await refusal("restricted", **triggers(authenticationRef={"name": "payments"})) or ""
    )


async def test_restricted_gives_no_identity_in_a_cloud() -> None:
    """Not even where the pods run as a lent account: the annotations would still be on the worker's own."""
    identity: Manifest = {
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}}
    }
    sentence = "spec.serviceAccount.annotations breaks the operator's templatePolicy 'restricted': remove it, or run"
    assert (await refusal("restricted", **identity) or "").startswith(sentence)
    assert await refusal("restricted", serviceAccount={"annotations": {}}) is None
    assert await refusal("baseline", **identity) is None


async def test_an_impossible_template_is_an_invalid_spec() -> None:
    with pytest.raises(InvalidSpecError, match="does not have the form"):
        await refusal("baseline", template={"spec": {"securityContext": "none"}})


async def test_nothing_is_applied_and_running_pods_stay() -> None:
    kube = FakeKube()
    work = Reconciler(cast("Kube", kube), RELEASE, policy=Policy())
    await work.reconcile(KEY)
    kube.change(**HOST_PATH)
    before, kube.applied = kube.live["Deployment"], []
    assert await work.reconcile(KEY) is Result.REFUSED, "an account or a Secret may get its label"
    assert (kube.applied, kube.live["Deployment"]) == ([], before)
    assert kube.condition("Degraded")[:2] == ("True", "PolicyViolation")
    assert kube.condition("Ready")[:2] == ("False", "PolicyViolation")


@pytest.mark.parametrize(
    ("left_out", "spec", "condition"),
    [
        (KEDA, BACKLOG, "AutoscalerReady"),
        ({"PodMonitor"}, {"metrics": {"podMonitor": True}}, "PodMonitorReady"),
    ],
)
async def test_kinds_that_are_left_out_are_neither_read_nor_made(
    left_out: set[str], spec: Manifest, condition: str
) -> None:
    kube = FakeKube(**spec)
    work = Reconciler(cast("Kube", kube), RELEASE, policy=Policy(left_out=frozenset(left_out)))
    await work.reconcile(KEY)
    status, reason, message = kube.condition(condition)
    assert (status, reason) == ("False", "Disabled")
    assert message.startswith("the operator is set to make no ")
    assert "Deployment" in kube.applied
    kube.change()
    kube.status["autoscaler"] = {"kind": "ScaledObject"}
    await work.reconcile(KEY)
    assert not left_out & {*kube.applied, *kube.read}
