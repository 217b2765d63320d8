"""Variables to inputs and results to variables, for each kind of model."""

import copy
import enum
import json
import pickle
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker import NonRetryableError
from rochallor_worker.handlers.models import fields_of, reader, schema_of, to_json
from rochallor_worker.job import Variables


class Currency(enum.Enum):
    EUR = "EUR"
    SEK = "SEK"


@dataclass
class Item:
    sku: str
    count: int = 1


@dataclass
class Whole:
    amount: Decimal
    currency: Currency
    day: date
    at: datetime
    id: UUID
    items: list[Item]
    counts: dict[int, float]
    note: str | None = None
    limit: ClassVar[int] = 3


class WholeStruct(msgspec.Struct):
    amount: Decimal
    currency: Currency
    day: date
    at: datetime
    id: UUID
    items: list[Item]
    counts: dict[int, float]
    note: str | None = None


class WholeModel(pydantic.BaseModel):
    amount: Decimal
    currency: Currency
    day: date
    at: datetime
    id: UUID
    items: list[Item]
    counts: dict[int, float]
    note: str | None = None


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "amount": st.decimals(allow_nan=False, allow_infinity=False),
    "currency": st.sampled_from(Currency),
    "day": st.dates(),
    "at": st.datetimes(timezones=st.just(UTC)),
    "id": st.uuids(),
    "items": st.lists(st.builds(Item, st.text(), st.integers(0, 2**31)), max_size=3),
    "counts": st.dictionaries(st.integers(0, 99), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    "note": st.none() | st.text(),
}
WHOLES = [Whole, WholeStruct, WholeModel]


@pytest.mark.parametrize("kind", WHOLES)
@given(values=st.fixed_dictionaries(FIELDS))
def test_what_is_returned_can_be_read_again(kind: Callable[..., Any], values: dict[str, Any]) -> None:
    """Through JSON, as the engine stores it."""
    value = kind(**values)
    variables = json.loads(json.dumps(to_json(value), allow_nan=False))
    assert reader(kind)(Variables(variables)) == value


@dataclass
class Flat:
    amount: int
    name: str
    items: list[int]
    note: str | None = None


class FlatStruct(msgspec.Struct):
    amount: int
    name: str
    items: list[int]
    note: str | None = None


class FlatDict(TypedDict):
    amount: int
    name: str
    items: list[int]
    note: NotRequired[str | None]


class FlatModel(pydantic.BaseModel):
    amount: int
    name: str
    items: list[int]
    note: str | None = None


GOOD = {"amount": 3, "name": "x", "items": [1, 2], "note": None}
BAD = {"amount": "x", "name": 5, "items": [1, "x"], "note": 7}
PATHS = {"items": "items[1]"}


@pytest.mark.parametrize("kind", [Flat, FlatStruct, FlatDict, FlatModel])
@given(wrong=st.sets(st.sampled_from(sorted(GOOD))), missing=st.sets(st.sampled_from(sorted(GOOD))))
def test_every_field_that_is_wrong_is_listed_and_no_other(kind: Any, wrong: set[str], missing: set[str]) -> None:
    wrong -= missing
    variables = {name: (BAD if name in wrong else GOOD)[name] for name in GOOD.keys() - missing}
    expected = {PATHS.get(name, name) for name in wrong} | (missing - {"note"})
    if not expected:
        reader(kind)(variables)
        return
    with pytest.raises(NonRetryableError) as raised:
        reader(kind)(variables)
    head, _, reasons = str(raised.value).partition(": ")
    assert head == f"the variables do not fit {kind.__name__}"
    assert [reason.split(": ")[0] for reason in reasons.split("; ")] == sorted(expected) or (
        kind is FlatModel and {reason.split(": ")[0] for reason in reasons.split("; ")} == expected
    )


@dataclass
class Marked:
    count: Annotated[int, msgspec.Meta(gt=0)]
    rates: dict[int, float]
    limit: ClassVar[int] = 3


class MarkedDict(TypedDict):
    count: Annotated[int, msgspec.Meta(gt=0)]
    rates: dict[int, float]


class Renamed(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    unit_price: Annotated[int, msgspec.Meta(gt=0)]


class Checked(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


class Around(msgspec.Struct):
    inner: FlatModel
    item: Item


class Aliased(pydantic.BaseModel):
    unit_price: int = pydantic.Field(alias="unitPrice")


@pytest.mark.parametrize(
    ("kind", "variables", "reasons"),
    [
        (Renamed, {"unitPrice": 0}, "unitPrice: expected int >= 1"),
        (Renamed, {"unitPrice": 1, "x": 1}, "the variables: object contains unknown field x"),
        (Renamed, {"x": 1}, "the variables: object contains unknown field x; unitPrice: missing"),
        (Checked, {"low": 2, "high": 1}, "the variables: low is above high"),
        (Around, {"inner": {}, "item": {}}, "item.sku: missing"),
        (Marked, {"count": 0, "limit": "x", "rates": {"1": 2}}, "Marked: count: expected int >= 1"),
        (MarkedDict, {"count": 0, "rates": {"1": 2}}, "MarkedDict: count: expected int >= 1"),
        (
            Marked,
            {"count": 0, "rates": {"x": 2}},
            "Marked: count: expected int >= 1; rates (a key): expected int, got str",
        ),
        (Aliased, {}, "unitPrice: field required"),
        (dict[str, int], {"a": "x"}, "[...]: expected int, got str"),
    ],
)
def test_reasons_are_given_by_the_names_in_json(kind: Any, variables: dict[str, Any], reasons: str) -> None:
    with pytest.raises(NonRetryableError) as raised:
        reader(kind)(variables)
    assert reasons in str(raised.value)
    assert str(raised.value).endswith(reasons.rpartition("; ")[2])


def test_a_pydantic_model_inside_of_another_model() -> None:
    good: dict[str, dict[str, Any]] = {"inner": {"amount": 3, "name": "x", "items": [1]}, "item": {"sku": "a"}}
    value = reader(Around)(good)
    assert value.inner == FlatModel(amount=3, name="x", items=[1])
    assert to_json(value)["inner"] == {**good["inner"], "note": None}
    assert fields_of(schema_of(Around)) is not None


def test_a_validation_that_breaks_is_the_programs_error() -> None:
    class Broken(pydantic.BaseModel):
        amount: int

        @pydantic.field_validator("amount")
        @classmethod
        def check(cls, _: int) -> int:
            raise KeyError("no such rate")

    with pytest.raises(KeyError):
        reader(Broken)({"amount": 1})


def test_a_model_may_read_variables_by_itself() -> None:
    class Own(pydantic.BaseModel):
        amount: int

        @classmethod
        def model_validate(cls, obj: Any, **_: Any) -> Any:
            raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        reader(Own)({"amount": 1})


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"day": date(2026, 1, 2), "price": Decimal("1.10")}, {"day": "2026-01-02", "price": "1.10"}),
        ({"at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)}, {"at": "2026-01-02T03:04:00Z"}),
        ({"id": UUID(int=1), "kind": Currency.EUR}, {"id": "00000000-0000-0000-0000-000000000001", "kind": "EUR"}),
        (UserDict({"a": UserDict({1: Item("x")})}), {"a": {"1": {"sku": "x", "count": 1}}}),
        ({"name": Name("x"), "many": {3}}, {"name": "x", "many": [3]}),
        (Aliased(unitPrice=3), {"unitPrice": 3}),
    ],
)
def test_results_take_their_form_in_json(value: Any, expected: Any) -> None:
    assert to_json(value) == expected


def test_what_has_no_form_in_json_is_refused() -> None:
    with pytest.raises(TypeError, match="Object of type object is not JSON"):
        to_json({"a": object()})


@dataclass
class Node:
    name: str
    children: "list[Node]" = field(default_factory=list)


class Cat(msgspec.Struct, tag=True):
    name: str
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


@pytest.mark.parametrize(
    ("kind", "fields", "required"),
    [
        (Node, {"name", "children"}, {"name"}),
        (Cat | Dog, {"type", "name", "lives"}, {"type", "name"}),
        (Flat | None, {"amount", "name", "items", "note"}, {"amount", "name", "items"}),
        (FlatModel, {"amount", "name", "items", "note"}, {"amount", "name", "items"}),
        (dict[str, Any], set(), set()),
        (Any, set(), set()),
    ],
)
def test_the_fields_of_a_schema(kind: Any, fields: set[str], required: set[str]) -> None:
    found = fields_of(schema_of(kind))
    assert found is not None
    assert (set(found.all), set(found.required)) == (fields, required)


@pytest.mark.parametrize("kind", [int, list[int], str | None, Flat | int])
def test_what_is_no_object_has_no_fields(kind: Any) -> None:
    assert fields_of(schema_of(kind)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda variables: variables.__setitem__("a", 2),
        lambda variables: variables.__delitem__("a"),
        lambda variables: variables.__ior__({"b": 1}),
        lambda variables: variables.clear(),
        lambda variables: variables.pop("a"),
        lambda variables: variables.popitem(),
        lambda variables: variables.setdefault("b", 1),
        lambda variables: variables.update(b=1),
    ],
)
def test_variables_are_read_only(change: Callable[[Any], Any]) -> None:
    variables = Variables(a=1)
    with pytest.raises(TypeError, match=r"job\.variables is read-only"):
        change(variables)
    assert variables == {"a": 1}


@given(st.dictionaries(st.text(), st.integers() | st.lists(st.integers())))
def test_variables_are_a_dict_in_all_else(values: dict[str, Any]) -> None:
    variables = Variables(values)
    for same in (pickle.loads(pickle.dumps(variables)), copy.copy(variables), copy.deepcopy(variables)):  # noqa: S301 — its own
        assert same == values
        assert type(same) is Variables
    assert type(variables | {}) is type(variables.copy()) is dict
    assert json.loads(json.dumps(variables)) == msgspec.json.decode(msgspec.json.encode(variables)) == values
