"""Specs of all kinds: the API server, the operator and the worker agree.

The API server is the real one. What it accepts, the operator can read, and the worker that it describes can start; the
objects that it describes are accepted too, or refused with a sentence that becomes the condition InvalidSpec. What the
API server refuses is at most InvalidSpec to the operator as well: there is no traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given

from fuzz.budget import examples
from fuzz.specs import specs
from integration.operator.api import RefusedError
from integration.operator.samples import resource
from integration.operator.test_crd import FINE
from rochallor_operator.desired.autoscaling import autoscaler
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.desired.disruption_budget import disruption_budget
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.pod_monitor import pod_monitor
from rochallor_operator.desired.references import references
from rochallor_operator.desired.service import service
from rochallor_operator.desired.service_account import service_account
from rochallor_operator.errors import InvalidSpecError, KubernetesError
from rochallor_operator.spec import Worker, parse
from rochallor_worker.engine.credentials import Credentials
from rochallor_worker.settings import PREFIX, load

if TYPE_CHECKING:
    from integration.operator.api import Api, Object


def seen(api: Api, made: Object) -> tuple[bool, Object]:
    """Whether the API server accepts a resource, and what the operator sees of it, or would."""
    try:
        live, accepted = api.create(made, dryRun="All"), True
    except RefusedError:
        live, accepted = made, False
    ours = {"namespace": api.namespace, "uid": "u", "generation": 1}
    return accepted, {**live, "metadata": ours | live["metadata"]}


def described(resource: Object) -> tuple[Worker, list[Object]] | str:
    """The worker and everything that the operator would apply for it; or what it says is wrong."""
    try:
        worker = parse(resource)
        references(worker, pod_template(worker, "worker:1"))
        parts = [service_account(worker), service(worker), *disruption_budget(worker), *pod_monitor(worker)]
        return worker, [*parts, deployment(worker, "worker:1", "hash"), *autoscaler(worker)]
    except InvalidSpecError as error:
        return str(error)


def refusal(api: Api, wish: Object) -> RefusedError | None:
    """What the API server says against an object."""
    try:
        api.apply(wish, dryRun="All", force="true")
    except RefusedError as error:
        return error
    return None


def check_worker(worker: Worker, deployed: Object) -> None:
    """Nothing that the operator writes for the worker stops its start."""
    [container] = [item for item in deployed["spec"]["template"]["spec"]["containers"] if item["name"] == "worker"]
    theirs = {variable["name"] for variable in worker.spec.env}
    given = {item["name"]: item["value"] for item in container["env"] if item["name"] not in theirs and "value" in item}
    ours = {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX)}
    settings = load(**ours)
    Credentials(type(settings.connection)(headers=settings.connection.headers))


def check(api: Api, spec: Object) -> str:
    """Ask everybody; return what became of the spec, in a word."""
    accepted, resource_seen = seen(api, resource() | {"spec": spec})
    found = described(resource_seen)
    if isinstance(found, str):
        assert "\n" not in found
        assert not accepted or found.startswith(("spec.template: ", "spec: no ")), "the API server could have known"
        return "invalid" if accepted else "refused"
    if not accepted:
        return "refused"
    worker, objects = found
    check_worker(worker, next(item for item in objects if item["kind"] == "Deployment"))
    refusals = [error for error in (refusal(api, wish) for wish in objects) if error is not None]
    for error in refusals:
        assert KubernetesError(error.status, str(error)).as_degraded(), f"taken for passing trouble: {error}"
    return "refused by a child's kind" if refusals else "applied"


@examples(1.5)
@given(spec=specs())
def test_any_spec(api: Api, spec: Object) -> None:
    event(check(api, spec))


@pytest.mark.parametrize("case", FINE)
def test_a_right_spec_becomes_objects(api: Api, case: str) -> None:
    assert check(api, resource(**FINE[case])["spec"]) == "applied"


@pytest.mark.parametrize(
    ("pod", "verdict"),
    [
        ({"nodeSelector": {"a": 1}}, "refused by a child's kind"),
        ({"tolerations": "x"}, "refused by a child's kind"),
        ({"hostNetwork": "yes"}, "refused by a child's kind"),
        ({"containers": [{"name": "b", "resources": {"limits": {"cpu": "lots"}}}]}, "refused by a child's kind"),
        ({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}, "applied"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "../../victim/secrets/x"}}]}, "invalid"),
    ],
)
def test_a_template_of_a_wrong_form_is_an_invalid_spec(api: Api, pod: Object, verdict: str) -> None:
    assert check(api, resource(template={"spec": pod})["spec"]) == verdict


@pytest.mark.parametrize(
    "fields",
    [
        {"env": [{"name": ["x"]}]},
        {"env": [{}]},
        {"autoscaling": {"maxReplicas": 2, "behavior": {"scaleDown": [1]}}},
        {"engine": {"url": "HTTP://engine"}},
        {"engine": {"url": "http://engine:99999"}},
        {"engine": {"url": "http://engine", "headers": [{"name": "A", "value": "ü"}]}},
        {"engine": {"url": "http://engine", "headers": [{"name": "A", "value": "a\u2028b"}]}},
        {"transport": "grpc", "engine": {"grpcTarget": "en\xa0gine:9090"}},
    ],
)
def test_what_the_worker_or_the_operator_cannot_use_is_refused(api: Api, fields: Object) -> None:
    assert check(api, resource(**fields)["spec"]) == "refused"
