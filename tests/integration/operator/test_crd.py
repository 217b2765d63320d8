"""Wrong resources are refused by the API server with a sentence that says what to write."""

from __future__ import annotations

import pytest

from integration.operator.api import Api, Object, RefusedError
from integration.operator.samples import resource

BAD: dict[str, tuple[Object, str]] = {
    "no engine": ({"engine": None}, "spec.engine: Required value"),
    "engine without url": ({"engine": {}}, "spec.engine.url: Required value"),
    "url without scheme": (
        {"engine": {"url": "engine:8080"}},
        "write an http:// or https:// address, such as http://engine:8080",
    ),
    "url of another scheme": ({"engine": {"url": "ftp://engine"}}, "write an http:// or https:// address"),
    "url without host": ({"engine": {"url": "http://"}}, "write an http:// or https:// address"),
    "unknown transport": ({"transport": "pigeon"}, 'Unsupported value: "pigeon": supported values: "rest"'),
    "no job types": ({"jobTypes": None}, "spec.jobTypes: Required value"),
    "empty job types": ({"jobTypes": []}, "spec.jobTypes in body should have at least 1 items"),
    "too many job types": ({"jobTypes": [f"t{n}" for n in range(65)]}, "must have at most 64 items"),
    "a job type twice": ({"jobTypes": ["a", "b", "a"]}, 'spec.jobTypes[2]: Duplicate value: "a"'),
    "a job type with a space": (
        {"jobTypes": ["charge card"]},
        "a job type has 1 to 200 letters, digits, '.', '_' or '-'",
    ),
    "an empty job type": ({"jobTypes": [""]}, "a job type has 1 to 200 letters"),
    "a long job type": ({"jobTypes": ["x" * 201]}, "a job type has 1 to 200 letters"),
    "no parallelism": ({"parallelism": 0}, "spec.parallelism in body should be greater than or equal to 1"),
    "too much parallelism": ({"parallelism": 1001}, "spec.parallelism in body should be less than or equal to 1000"),
    "parallelism as text": ({"parallelism": "64"}, 'spec.parallelism in body must be of type integer: "string"'),
    "interval as a number": ({"pollInterval": 500}, 'spec.pollInterval in body must be of type string: "integer"'),
    "interval without unit": ({"pollInterval": "500"}, "write a whole number and ms, s or m, from 10ms to 5m"),
    "short interval": ({"pollInterval": "9ms"}, "from 10ms to 5m, such as 500ms"),
    "long interval": ({"pollInterval": "301s"}, "from 10ms to 5m, such as 500ms"),
    "huge interval": ({"pollInterval": "999999999999999"}, "from 10ms to 5m, such as 500ms"),
    "timeout beyond the lease": ({"handlerTimeout": "30s"}, "shorter than the engine's 30s lease, such as 20s"),
    "timeout in minutes": ({"handlerTimeout": "1m"}, "shorter than the engine's 30s lease"),
    "no timeout": ({"handlerTimeout": "0s"}, "at least 10ms and shorter than the engine's 30s lease"),
    "no drain": ({"drainTimeout": "500ms"}, "from 1s to 10m, such as 25s"),
    "long drain": ({"drainTimeout": "11m"}, "from 1s to 10m, such as 25s"),
    "no handlers": ({"handlers": None}, "spec.handlers: Required value"),
    "handlers nowhere": ({"handlers": {}}, "write exactly one of module (code in the image) and configMap"),
    "handlers twice": (
        {"handlers": {"module": "a:b", "configMap": {"name": "c", "module": "a:b"}}},
        "write exactly one of module (code in the image) and configMap",
    ),
    "module without registry": ({"handlers": {"module": "shop.handlers"}}, "write package.module:registry, such as"),
    "module as a file": ({"handlers": {"module": "shop/handlers.py:registry"}}, "write package.module:registry"),
    "ConfigMap without name": (
        {"handlers": {"configMap": {"module": "a:b"}}},
        "spec.handlers.configMap.name: Required",
    ),
    "ConfigMap without module": (
        {"handlers": {"configMap": {"name": "c"}}},
        "spec.handlers.configMap.module: Required",
    ),
    "ConfigMap with a package": (
        {"handlers": {"configMap": {"name": "c", "module": "a.b:registry"}}},
        "write file:registry without the .py",
    ),
    "ConfigMap of a bad name": (
        {"handlers": {"configMap": {"name": "My Code", "module": "a:b"}}},
        "a ConfigMap's name has 1 to 253 characters of a-z, 0-9, '-' and '.'",
    ),
    "image with a space": ({"image": "worker: 1"}, "write an image reference without spaces"),
    "empty image": ({"image": ""}, "write an image reference without spaces"),
    "unknown pull policy": ({"imagePullPolicy": "Sometimes"}, 'supported values: "Always", "IfNotPresent", "Never"'),
    "pull secret without name": ({"imagePullSecrets": [{}]}, "spec.imagePullSecrets[0].name: Required value"),
    "negative replicas": ({"replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
    "suspend as text": ({"suspend": "yes"}, 'spec.suspend in body must be of type boolean: "string"'),
    "quantity": ({"resources": {"limits": {"memory": "lots"}}}, "write a quantity, such as 500m, 2 or 256Mi"),
    "reserved variable": (
        {"env": [{"name": "ROCHALLOR_PARALLELISM", "value": "1"}]},
        "the operator sets this variable from the spec; write the spec field instead",
    ),
    "variable without name": ({"env": [{"value": "1"}]}, "spec.env[0].name: Required value"),
    "variable twice": ({"env": [{"name": "A"}, {"name": "A"}]}, 'spec.env[1]: Duplicate value: {"name":"A"}'),
    "two values": (
        {"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        "write value or valueFrom, not both",
    ),
    "value from nowhere": (
        {"env": [{"name": "A", "valueFrom": {}}]},
        "write exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
    ),
    "value from two places": (
        {
            "env": [
                {
                    "name": "A",
                    "valueFrom": {
                        "secretKeyRef": {"name": "s", "key": "k"},
                        "configMapKeyRef": {"name": "c", "key": "k"},
                    },
                }
            ]
        },
        "write exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
    ),
    "all variables of nothing": ({"envFrom": [{}]}, "write exactly one of configMapRef and secretRef"),
    "unknown field": ({"paralelism": 5}, 'unknown field "spec.paralelism"'),
    "unknown field inside": ({"handlers": {"modul": "a:b"}}, 'unknown field "spec.handlers.modul"'),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_spec_is_refused(api: Api, case: str) -> None:
    change, sentence = BAD[case]
    wrong = resource()
    wrong["spec"] = {name: value for name, value in (wrong["spec"] | change).items() if value is not None}
    with pytest.raises(RefusedError) as caught:
        api.create(wrong, dryRun="All", fieldValidation="Strict")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["1st", "a" * 56, "a.b"])
def test_a_name_that_leaves_no_room_for_children_is_refused(api: Api, name: str) -> None:
    with pytest.raises(RefusedError, match="name must be at most 55 characters, start with a letter"):
        api.create(resource(name), dryRun="All")


def test_no_spec_at_all(api: Api) -> None:
    wrong = resource()
    del wrong["spec"]
    with pytest.raises(RefusedError, match="spec: Required value"):
        api.create(wrong, dryRun="All")


def test_everything_at_once_is_accepted(api: Api) -> None:
    key = {"name": "x", "key": "k", "optional": True}
    accepted = api.create(
        resource(
            "a" * 55,
            jobTypes=["a", "A.b_c-9", "x" * 200],
            parallelism=1000,
            pollInterval="10ms",
            handlerTimeout="29s",
            drainTimeout="10m",
            handlers={"configMap": {"name": "my.code-1", "module": "handlers:registry"}},
            image="registry.example.com:5000/shop/worker@sha256:abc",
            imagePullPolicy="Never",
            imagePullSecrets=[{"name": "one"}, {"name": "two"}],
            replicas=0,
            suspend=True,
            resources={"requests": {"cpu": 1, "memory": "64Mi"}, "limits": {"cpu": "1500m", "example.com/gpu": "2"}},
            env=[
                {"name": "A", "value": "1"},
                {"name": "ROCHALLOR_LOG_LEVEL", "value": "DEBUG"},
                {"name": "B", "valueFrom": {"secretKeyRef": key}},
                {"name": "C", "valueFrom": {"configMapKeyRef": key}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            ],
            envFrom=[{"prefix": "X_", "configMapRef": {"name": "x"}}, {"secretRef": {"name": "y", "optional": True}}],
        ),
        dryRun="All",
        fieldValidation="Strict",
    )
    assert accepted["spec"]["transport"] == "rest"


def test_defaults(api: Api) -> None:
    spec = api.create(resource(), dryRun="All")["spec"]
    defaults = {name: spec[name] for name in ("transport", "parallelism", "pollInterval", "drainTimeout", "replicas")}
    assert defaults == {
        "transport": "rest",
        "parallelism": 64,
        "pollInterval": "500ms",
        "drainTimeout": "25s",
        "replicas": 1,
    }
    assert spec["suspend"] is False
