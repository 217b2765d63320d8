"""Specs made from the resource definition: most are valid, and any section of one may be wrong."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from fuzz.conftest import CRD
from integration.operator.samples import resource
from integration.operator.test_crd import FINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.operator.api import Object

Schema = dict[str, Any]
Strategy = st.SearchStrategy[Any]

SCHEMA: Schema = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
MATCHES = re.compile(r"self\.matches\('([^']*)'\)")
ODD = ["", " ", "\0", "ü", "a\nb", "a\u2028b", "a\xa0b", "../..", "%2e%2e", "a" * 63, "a" * 64, "a" * 253, "x" * 5000]
QUANTITIES = ["1", "500m", "64Mi", "1e3", "0", "-1", "1.5Gi", "lots", "1e1000", "٣", " 1", "1 Mi"]


def mostly(right: Strategy, odd: Strategy) -> Strategy:
    """`right` nine times out of ten."""
    return st.integers(0, 9).flatmap(lambda number: odd if number == 9 else right)


texts = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
durations = mostly(
    st.sampled_from(["10ms", "500ms", "1s", "15s", "29999ms", "1m"]),
    st.builds(lambda count, unit: f"{count}{unit}", st.integers(0, 1500), st.sampled_from(["ms", "s", "m", "h"])),
)
urls = mostly(
    st.sampled_from(["http://e", "https://e.x:8443/a", "http://[::1]:80", "http://u:p@e", "http://e:"]),
    st.sampled_from(
        [
            *["HTTP://e", "http://e?x=1", "http://e#x", "http://e:99999", "http://ü", "http://e/ x", "http://e\xa0x"],
            *[
                "http://[::1",
                "ftp://e",
                "http://",
                "http://a_b",
                'http://a"b',
                "http://a<b",
                "http://e\\x",
                "http://e/%20",
            ],
        ]
    ),
)


def of(schema: Schema) -> Strategy:
    """Values for a schema."""
    if "x-kubernetes-int-or-string" in schema:
        return mostly(st.integers(0, 100), st.sampled_from([*QUANTITIES, -1, "50%", "101%"]))
    return KINDS[schema["type"]](schema)


def _integer(schema: Schema) -> Strategy:
    least, most = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
    return st.integers(least, most) | st.sampled_from([least, most])


def _text(schema: Schema) -> Strategy:
    """Texts that the enumeration or the rules of a field demand."""
    rules = " ".join(item["rule"] for item in schema.get("x-kubernetes-validations", []))
    pattern = MATCHES.search(rules)
    if "enum" in schema:
        right: Strategy = st.sampled_from(schema["enum"])
    elif "isURL" in rules:
        return urls
    elif "(ms|s|m|h)" in rules:
        return durations
    elif pattern is not None:
        expression = re.compile(pattern[1].replace("[:space:]", r"\s"), re.ASCII)
        right = st.from_regex(expression).filter(lambda text: len(text) <= schema["maxLength"])
    else:
        right = st.sampled_from(["name", "a.b"])
    return mostly(right, texts)


def _list(schema: Schema) -> Strategy:
    keys = schema.get("x-kubernetes-list-map-keys")
    unique: Callable[[Any], Any] = (lambda item: tuple(map(item.get, keys))) if keys else repr
    return st.lists(of(schema["items"]), min_size=schema.get("minItems", 0), max_size=3, unique_by=unique)


def _object(schema: Schema) -> Strategy:
    if "additionalProperties" in schema:
        names = mostly(st.sampled_from(["cpu", "memory"]), texts)
        return st.dictionaries(names, of(schema["additionalProperties"]), max_size=2)
    if "x-kubernetes-preserve-unknown-fields" in schema:
        return pods
    fields = {name: of(part) for name, part in schema.get("properties", {}).items()}
    required = {name: fields.pop(name) for name in schema.get("required", [])}
    return st.fixed_dictionaries(required, optional=fields)


KINDS: dict[str, Callable[[Schema], Strategy]] = {
    "boolean": lambda _: st.booleans(),
    "integer": _integer,
    "number": lambda schema: st.floats(schema["minimum"], schema["maximum"]) | st.integers(0, 3),
    "string": _text,
    "array": _list,
    "object": _object,
}

FIELDS = """containers initContainers volumes env envFrom valueFrom secretKeyRef configMapKeyRef secretRef name key
    optional image ports containerPort volumeMounts mountPath secret configMap secretName projected sources items
    nodeSelector tolerations securityContext resources limits terminationGracePeriodSeconds affinity imagePullSecrets
    priority"""
words = st.sampled_from(["worker", "tmp", "connections", "metrics", "/data", "ROCHALLOR_TRANSPORT", "A", "../x"])
fragments = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**40) | words | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS.split()), inner, max_size=3),
    max_leaves=10,
)
uses = st.sampled_from(["name", "other", "../../victim/secrets/x", "..", "A", "", 5, None]).flatmap(
    lambda name: st.sampled_from(
        [
            {"volumes": [{"name": "v", "secret": {"secretName": name}}]},
            {"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": name}}]}}]},
            {"containers": [{"name": "worker", "envFrom": [{"secretRef": {"name": name}}]}]},
            {"containers": [{"name": "worker", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": name}}}]}]},
        ]
    )
)
pods = st.dictionaries(st.sampled_from(FIELDS.split()), fragments, max_size=3) | uses


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with one thing wrong, somewhere."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        field = draw(st.sampled_from(sorted(value)))
        kind = draw(st.sampled_from(["inside", "inside", "inside", "missing", "added"]))
        if kind == "missing":
            return {name: item for name, item in value.items() if name != field}
        if kind == "added":
            return {**value, draw(texts): draw(fragments)}
        return {**value, field: draw(changed(value[field]))}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(changed(value[place])), *value[place + draw(st.integers(0, 1)) :]]
    if isinstance(value, int) and draw(st.booleans()):
        return value + draw(st.sampled_from([-1, 1, 2**31, -(2**31), 10**18]))
    return draw(st.none() | texts | st.integers(-1, 2**40) | fragments)


OFTEN = [*["template"] * 12, *["env", "envFrom", "resources", "autoscaling", "engine", "metrics"] * 3]
"""The fields with most to get wrong."""


@st.composite
def specs(draw: st.DrawFn) -> Object:
    """A valid spec with some generated fields, and now and then something wrong."""
    spec: Any = copy.deepcopy(resource(**FINE[draw(st.sampled_from(sorted(FINE)))])["spec"])
    for field in draw(st.lists(st.sampled_from(OFTEN + sorted(SCHEMA["properties"])), max_size=2)):
        if field not in {"transport", "kafka", "outcomeTransport"} or draw(st.integers(0, 4)) == 0:
            value = of(SCHEMA["properties"][field])
            spec[field] = draw(mostly(value, value.flatmap(changed)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        spec = draw(changed(spec))
    return spec if isinstance(spec, dict) else {"spec": spec}
