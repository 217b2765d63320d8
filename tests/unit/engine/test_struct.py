"""JSON values over gRPC: the same as over REST."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rochallor_worker.devengine import wire
from rochallor_worker.engine.grpc.struct import from_struct, to_struct

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)


def exact(value: object) -> object:
    """Return a value in which 1, 1.0 and True differ, and the order of keys does not matter."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value), value)


@settings(deadline=None)
@given(st.dictionaries(text, values, max_size=4))
def test_values_come_back_as_over_rest(variables: dict[str, object]) -> None:
    sent = to_struct(variables).SerializeToString()
    received = type(to_struct({})).FromString(sent)
    assert exact(from_struct(received)) == exact(wire.variables(variables))


def test_empty_is_not_absent() -> None:
    struct = to_struct({"object": {}, "list": []})
    assert from_struct(struct) == {"object": {}, "list": []}
    assert struct.fields["object"].WhichOneof("kind") == "struct_value"


def test_a_value_without_a_kind_is_none() -> None:
    struct = to_struct({})
    struct.fields["x"].SetInParent()
    assert from_struct(struct) == {"x": None}


def test_thirty_levels_can_be_read_back() -> None:
    deep: dict[str, object] = {}
    for _ in range(30):
        deep = {"d": deep}
    assert from_struct(type(to_struct({})).FromString(to_struct(deep).SerializeToString())) == deep
