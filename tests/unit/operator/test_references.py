"""The Secrets and ConfigMaps whose changes roll the pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.content.hashes import Users
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.references import Reference, references
from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import Key, ObjectRef
from unit.operator.samples import worker
from unit.operator.test_desired import FULL, KAFKA, LIMITED, TEMPLATE

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


def uses(**spec: object) -> list[Reference]:
    made = worker(**spec)
    return references(made, pod_template(made, "worker:1"))


def brief(**spec: object) -> list[tuple[str, str, str | None]]:
    return [(use.kind, use.name, use.key) for use in uses(**spec)]


def test_a_minimal_worker_uses_none() -> None:
    assert uses() == []


def test_handlers_and_variables_but_not_pull_secrets() -> None:
    assert brief(**FULL) == [
        ("ConfigMap", "common", None),
        ("ConfigMap", "payment-handlers", "handlers.py"),
        ("ConfigMap", "payment-handlers", None),
        ("Secret", "gateway", "token"),
    ]


def test_connections() -> None:
    assert brief(**KAFKA) == [
        ("Secret", "gateway", "token"),
        ("Secret", "gateway-ca", "ca.crt"),
        ("Secret", "kafka-ca", "ca.crt"),
        ("Secret", "kafka-cert", "tls.crt"),
        ("Secret", "kafka-cert", "tls.key"),
        ("Secret", "kafka-user", "password"),
        ("Secret", "kafka-user", "username"),
        ("Secret", "payments-cert", "tls.crt"),
        ("Secret", "payments-cert", "tls.key"),
    ]


def test_the_number_of_pods_replaces_none() -> None:
    assert uses(**LIMITED) == [Reference("ConfigMap", "payments-scale", None, optional=True, rolls=False)]


def test_the_users_template() -> None:
    assert brief(**TEMPLATE) == [("Secret", "models", None)]
    sidecar = {
        "name": "proxy",
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "a", "optional": True}}}],
        "envFrom": [{"secretRef": {"name": "proxy"}}],
    }
    projected = {"sources": [{"configMap": {"name": "p", "items": [{"key": "k", "path": "f"}]}}, {"downwardAPI": {}}]}
    pod = {"initContainers": [sidecar], "volumes": [{"name": "p", "projected": projected}]}
    assert uses(template={"spec": pod}) == [
        Reference("ConfigMap", "p", "k", optional=False),
        Reference("ConfigMap", "proxy", "a", optional=True),
        Reference("Secret", "proxy", None, optional=False),
    ]


def test_an_optional_volume_may_be_missing() -> None:
    """As a variable may: Kubernetes starts the pod without it."""
    volumes = [
        {"name": "a", "secret": {"secretName": "a", "optional": True}},
        {"name": "b", "configMap": {"name": "b", "optional": True, "items": [{"key": "k", "path": "f"}]}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "c", "optional": True}}]}},
        {"name": "d", "configMap": {"name": "d", "optional": False}},
    ]
    assert uses(template={"spec": {"volumes": volumes}}) == [
        Reference("ConfigMap", "b", "k", optional=True),
        Reference("ConfigMap", "d", None, optional=False),
        Reference("Secret", "a", None, optional=True),
        Reference("Secret", "c", None, optional=True),
    ]


def test_the_index_follows_what_is_used() -> None:
    users = Users()
    one, two = Key("shop", "one"), Key("shop", "two")
    gateway = ObjectRef("Secret", "shop", "gateway")
    users.note(one, [use.object_in("shop") for use in uses(**FULL)])
    users.note(two, [use.object_in("shop") for use in uses(**KAFKA)])
    assert users.of(gateway) == [one, two]
    assert users.of_any("Secret") == [one, two]
    assert users.of(ObjectRef("ConfigMap", "shop", "gateway")) == []
    assert users.of(ObjectRef("Secret", "other", "gateway")) == []
    users.note(one, [use.object_in("shop") for use in uses()])
    assert users.of(gateway) == [two]
    users.forget(two)
    users.forget(two)
    assert users.of(gateway) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": "worker"},
        {"volumes": [{"name": "v", "secret": "models"}]},
        {"volumes": [{"name": "v", "projected": {"sources": {"secret": "models"}}}]},
        {"containers": [{"name": "worker", "envFrom": ["models"]}]},
        {"containers": [{"name": "worker", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a"}}}]}]},
        {"initContainers": 5},
    ],
)
def test_a_template_without_the_form_of_a_pod_is_refused(spec: Manifest) -> None:
    with pytest.raises(InvalidSpecError, match=r"spec\.template: .*kubectl explain pod\.spec"):
        uses(template={"spec": spec})


@pytest.mark.parametrize("name", ["", ".", "..", "../../other/secrets/admin", "%2e%2e", "a?b", "A", "a\n", "a" * 254])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"spec: no Secret can be named '.*; a name has 1 to 253 characters"):
        uses(engine={"url": "https://engine:8080", "tls": {"caSecret": name}})
