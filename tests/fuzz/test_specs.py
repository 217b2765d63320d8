"""Specs of all kinds: the API server, the operator and the worker agree.

The API server is the real one. If it accepts a spec, the operator can read it and the worker it describes can start;
the objects it describes are accepted too, or refused with a sentence that becomes the condition InvalidSpec. If the API
server refuses a spec, the operator finds at most InvalidSpec: there is no traceback.
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
from rochallor_operator.desired.companions import disruption_budget, pod_monitor, service, service_account
from rochallor_operator.desired.deployment import Content, deployment
from rochallor_operator.desired.pod import form_of_a_template, pod_template
from rochallor_operator.desired.pod_security import breaches
from rochallor_operator.desired.references import references
from rochallor_operator.errors import InvalidSpecError, KubernetesError
from rochallor_operator.spec.connection import UNKNOWN, engine_ref, merge
from rochallor_operator.spec.worker import Worker, parse
from rochallor_worker.cli.settings import PREFIX, load
from rochallor_worker.engine.client import Connection
from rochallor_worker.engine.credentials import Credentials

if TYPE_CHECKING:
    from integration.operator.api import Api, Object


def seen(api: Api, made: Object) -> tuple[bool, Object]:
    """Return whether the API server accepts a resource, and the resource as the operator would see it."""
    try:
        live, accepted = api.create(made, dryRun="All"), True
    except RefusedError:
        live, accepted = made, False
    ours = {"namespace": api.namespace, "uid": "u", "generation": 1}
    return accepted, {**live, "metadata": ours | live["metadata"]}


def described(resource: Object) -> tuple[Worker, list[Object]] | str:
    """Return the worker and everything that the operator would apply for it, or its error message."""
    try:
        named = engine_ref(resource, "shop")
        worker = parse(resource if named is None else merge(resource, UNKNOWN))
        template = pod_template(worker, "worker:1")
        references(worker, template)
        with form_of_a_template():
            list(breaches(template, "restricted"))
        parts = [service_account(worker), service(worker), *disruption_budget(worker), *pod_monitor(worker)]
        return worker, [*parts, deployment(worker, "worker:1", Content("hash", "code")), *autoscaler(worker)]
    except InvalidSpecError as error:
        return str(error)


def refusal(api: Api, wish: Object) -> RefusedError | None:
    """Return why the API server refuses an object, if it does."""
    try:
        api.apply(wish, dryRun="All", force="true")
    except RefusedError as error:
        return error
    return None


def check_worker(worker: Worker, deployed: Object) -> None:
    """Check that nothing the operator writes for the worker prevents its start."""
    [container] = [item for item in deployed["spec"]["template"]["spec"]["containers"] if item["name"] == "worker"]
    theirs = {variable["name"] for variable in worker.spec.env}
    given = {item["name"]: item["value"] for item in container["env"] if item["name"] not in theirs and "value" in item}
    ours = {name.removeprefix(PREFIX).lower(): value for name, value in given.items() if name.startswith(PREFIX)}
    settings = load(**ours)
    Credentials(Connection(headers=settings.engine_headers))


def check(api: Api, spec: Object) -> str:
    """Check API server, operator and worker; return the result in a word."""
    accepted, resource_seen = seen(api, resource() | {"spec": spec})
    found = described(resource_seen)
    if isinstance(found, str):
        assert "\n" not in found
        assert not accepted or found.startswith(("spec.template: ", "spec: no ")), (
            "the API server could have refused it"
        )
        return "invalid" if accepted else "refused"
    if not accepted:
        return "refused"
    worker, objects = found
    check_worker(worker, next(item for item in objects if item["kind"] == "Deployment"))
    refusals = [error for error in (refusal(api, wish) for wish in objects) if error is not None]
    for error in refusals:
        assert KubernetesError(error.status, str(error)).as_degraded(), f"treated as transient: {error}"
    return "refused by a child's kind" if refusals else "applied"


@examples(1.5)
@given(spec=specs())
def test_any_spec(api: Api, spec: Object) -> None:
    event(check(api, spec))


@pytest.mark.parametrize("case", FINE)
def test_a_valid_spec_becomes_objects(api: Api, case: str) -> None:
    assert check(api, resource(**FINE[case])["spec"]) == "applied"


@pytest.mark.parametrize(
    ("pod", "verdict"),
    [
        ({"nodeSelector": {"a": 1}}, "refused"),
        ({"tolerations": "x"}, "refused"),
        ({"hostNetwork": "yes"}, "refused"),
        ({"containers": [{"name": "b", "resources": {"limits": {"cpu": "lots"}}}]}, "refused by a child's kind"),
        ({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}, "applied"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "../../victim/secrets/x"}}]}, "invalid"),
    ],
)
def test_a_malformed_template_is_an_invalid_spec(api: Api, pod: Object, verdict: str) -> None:
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
def test_values_that_worker_or_operator_cannot_use_are_refused(api: Api, fields: Object) -> None:
    assert check(api, resource(**fields)["spec"]) == "refused"
