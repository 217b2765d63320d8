"""What the operator's settings allow resources to ask for, and whether a resource asks for more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rochallor_operator.desired.pod import form_of_a_template
from rochallor_operator.desired.pod_security import breaches
from rochallor_operator.errors import DegradedError
from rochallor_operator.names import account_name
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.desired.references import Reference
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Worker

TemplatePolicy = Literal["restricted", "baseline", "any"]

FOR_WORKERS: Final = "rochallor.io/for-workers"
"""Label, with the value "true", that opens a ServiceAccount, a Secret or a TriggerAuthentication to all workers of its
namespace."""


@dataclass(frozen=True)
class Policy:
    """The settings."""

    template: TemplatePolicy = "baseline"
    left_out: frozenset[str] = frozenset()
    """Kinds of children that the operator doesn't make and has no rights on."""
    backlog: bool = True
    """Whether the operator reads the engines' databases."""
    copy_secrets: bool = False
    """Whether it copies the Secrets of ClusterEngineConnections to their workers."""


async def breach(
    kube: Kube,
    policy: Policy,
    worker: Worker,
    template: Manifest,
    uses: Iterable[Reference],
    scaling: list[Manifest],
    lent: Collection[str] = (),
) -> DegradedError | None:
    """Why the policy forbids a merged template or the objects that it uses; None when it allows them. A connection of
    the cluster has already been allowed, with the Secrets `lent` that are copies of its own.

    Raises InvalidSpecError when the template doesn't have the form of a pod template.
    """
    if policy.template == "any":
        return None
    with form_of_a_template():
        found = next(breaches(template, policy.template), None)
        if found is not None:
            return _refusal(policy, found.field, found.allowed)
        account = account_of(template)
    if policy.template == "restricted" and worker.spec.service_account.annotations:
        # Some grant an identity in the cloud, which is as much as a Secret, and nobody knows all that do.
        allowed = f"remove it, or run the pods as a ServiceAccount with the label {FOR_WORKERS}=true"
        return _refusal(policy, "spec.serviceAccount.annotations", allowed)
    needed = {("ServiceAccount", account)} if account != account_name(worker.name) else set()
    scaling = [wish for wish in scaling if wish["kind"] not in policy.left_out]
    for trigger in _triggers_of(scaling):
        if (borrowed := _of_the_cluster(trigger)) is not None:
            return _refusal(policy, *borrowed)
    if policy.template == "restricted":
        needed |= {(use.kind, use.name) for use in uses if use.kind == "Secret" and use.namespace is None}
        needed |= {("Secret", name) for wish in scaling for name in _secrets_of(wish)}
        needed -= {("Secret", name) for name in lent}
        references = [
            trigger["authenticationRef"] for trigger in _triggers_of(scaling) if "authenticationRef" in trigger
        ]
        ours = {(wish["kind"], wish["metadata"]["name"]) for wish in scaling}
        needed |= {("TriggerAuthentication", reference["name"]) for reference in references} - ours
    for kind, name in sorted(needed):
        live = await kube.get(kind, worker.namespace, name)
        # An object that doesn't exist yet may be created later without the label, and pods would then use it.
        if live is None or live["metadata"].get("labels", {}).get(FOR_WORKERS) != "true":
            return _refusal(policy, f"{kind} {name!r}", f"it needs the label {FOR_WORKERS}=true")
    return None


def account_of(template: Manifest) -> str:
    """The ServiceAccount that pods of a template run as."""
    pod = template.get("spec", {})
    name: str = pod.get("serviceAccountName") or pod.get("serviceAccount") or "default"
    return name


def _secrets_of(wish: Manifest) -> list[str]:
    """The Secrets that KEDA reads for a worker."""
    return [target["name"] for target in wish["spec"].get("secretTargetRef", [])]


def _triggers_of(scaling: list[Manifest]) -> list[Manifest]:
    """KEDA's triggers."""
    return [trigger for wish in scaling for trigger in wish["spec"].get("triggers", [])]


def _of_the_cluster(trigger: Manifest) -> tuple[str, str] | None:
    """What in a trigger sends credentials of the whole cluster to an address that the spec chooses, and what is allowed
    instead."""
    field = "spec.autoscaling.triggers"
    reference = trigger.get("authenticationRef", {})
    if reference.get("kind") == "ClusterTriggerAuthentication":
        return f"{field}: ClusterTriggerAuthentication {reference['name']!r}", "allowed: TriggerAuthentication"
    owner = trigger["metadata"].get("identityOwner", "pod")
    if owner != "pod":  # scalers for AWS would use KEDA's own role
        return f"{field}: identityOwner {owner!r}", "allowed: pod"
    return None


def _refusal(policy: Policy, what: str, allowed: str) -> DegradedError:
    sentence = f"{what} breaks the operator's templatePolicy {policy.template!r}: {allowed}"
    return DegradedError(Reason.POLICY_VIOLATION, sentence)
