"""The strategic merge of pod templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.desired.merge import merge

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.integers(0, 3), st.sampled_from(["x", "y"]), st.booleans())


def keyed(key: str, fields: st.SearchStrategy[Manifest]) -> st.SearchStrategy[list[Manifest]]:
    """A list whose items have different keys."""
    return st.dictionaries(NAMES, fields, max_size=3).map(
        lambda items: [{**item, key: name} for name, item in items.items()]
    )


def manifests(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Manifest]:
    """Objects of the form of a pod."""
    flat = st.dictionaries(st.sampled_from(["p", "q"]), leaves, max_size=2)
    container = st.fixed_dictionaries(
        {}, optional={"image": leaves, "env": keyed("name", flat), "args": st.lists(SCALARS, max_size=2)}
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "containers": keyed("name", container),
            "volumes": keyed("name", flat),
            "tolerations": st.lists(flat, max_size=2),
            "nodeSelector": flat,
            "dnsPolicy": leaves,
        },
    )


PODS = manifests(SCALARS)
PATCHES = manifests(st.one_of(SCALARS, st.none()))


def nulls(value: Any) -> int:
    """The number of nulls outside of lists that are replaced as a whole."""
    if isinstance(value, dict):
        return sum(nulls(part) for name, part in value.items() if name != "tolerations")
    if isinstance(value, list):
        return sum(nulls(part) for part in value)
    return int(value is None)


@given(PODS)
def test_nothing_changes_nothing(pod: Manifest) -> None:
    assert merge(pod, {}) == pod


@given(PODS)
def test_a_pod_over_nothing_is_the_pod(pod: Manifest) -> None:
    assert merge({}, pod) == pod


@given(PODS, PATCHES)
def test_merging_twice_is_merging_once(pod: Manifest, patch: Manifest) -> None:
    once = merge(pod, patch)
    assert merge(once, patch) == once


@given(PODS, PODS, PODS)
def test_without_nulls_the_order_of_merging_does_not_matter(pod: Manifest, first: Manifest, second: Manifest) -> None:
    assert merge(merge(pod, first), second) == merge(pod, merge(first, second))


@given(PODS, PATCHES)
def test_null_deletes(pod: Manifest, patch: Manifest) -> None:
    assert nulls(merge(pod, patch)) == 0


@given(PODS, PATCHES)
def test_keys_stay_unique_and_in_order(pod: Manifest, patch: Manifest) -> None:
    merged = merge(pod, patch)
    for field in ("containers", "volumes"):
        old = [item["name"] for item in pod.get(field, [])]
        new = [item["name"] for item in merged.get(field, [])]
        assert len(set(new)) == len(new)
        assert new[: len(old)] == old


@given(PODS, PATCHES)
def test_the_arguments_are_not_changed(pod: Manifest, patch: Manifest) -> None:
    before = (repr(pod), repr(patch))
    merge(pod, patch)
    assert (repr(pod), repr(patch)) == before


BASE: Manifest = {
    "containers": [
        {
            "name": "worker",
            "args": ["run"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"name": "metrics", "containerPort": 9090}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/data"}],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    "tolerations": [{"key": "spot"}],
}


def worker(**change: Any) -> Manifest:
    return {"containers": [{"name": "worker", **change}]}


@pytest.mark.parametrize(
    ("patch", "path", "expected"),
    [
        (worker(args=["check"]), "args", ["check"]),
        (worker(ports=[{"containerPort": 9090, "name": "m"}]), "ports", [{"name": "m", "containerPort": 9090}]),
        (
            worker(volumeMounts=[{"mountPath": "/data", "readOnly": True}]),
            "volumeMounts",
            [{"name": "tmp", "mountPath": "/data", "readOnly": True}],
        ),
        (
            worker(env=[{"name": "A", "valueFrom": {"fieldRef": {}}}, {"name": "C"}]),
            "env",
            [{"name": "A", "valueFrom": {"fieldRef": {}}}, {"name": "B", "value": "2"}, {"name": "C"}],
        ),
    ],
)
def test_lists_of_a_container(patch: Manifest, path: str, expected: list[Any]) -> None:
    (container,) = merge(BASE, patch)["containers"]
    assert container == BASE["containers"][0] | {path: expected}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"volumes": [{"name": "tmp", "hostPath": {"path": "/x"}}]}, [{"name": "tmp", "hostPath": {"path": "/x"}}]),
        ({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["b"]}]}, [{"ip": "10.0.0.1", "hostnames": ["b"]}]),
        ({"tolerations": [{"key": "arm"}]}, [{"key": "arm"}]),
        ({"tolerations": None}, None),
    ],
)
def test_lists_of_a_pod(patch: Manifest, expected: list[Any] | None) -> None:
    (field,) = patch
    assert merge(BASE, patch).get(field) == expected


@pytest.mark.parametrize("item", ["worker", {}, {"name": None}, {"name": {}}])
def test_an_item_without_its_key_is_refused(item: Any) -> None:
    with pytest.raises(ValueError, match="each item of containers needs its name"):
        merge(BASE, {"containers": [item]})
