import functools
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest

from rochallor_worker import Instance, Job, NonRetryableError, Registry, State
from rochallor_worker.handlers.signature import Signature, read

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Order:
    amount: int


class Struct(msgspec.Struct):
    amount: int


class Typed(TypedDict):
    amount: int


class Model(pydantic.BaseModel):
    amount: int


class Listed(msgspec.Struct, array_like=True):
    amount: int


class Unknown: ...


Db = Annotated[str, State("db")]


async def _no_instance(instance_id: str) -> Instance:
    raise AssertionError(f"instance {instance_id} was fetched")


def make_job(**variables: Any) -> Job:
    return Job(
        id="j",
        instance_id="i",
        step_execution_id="s",
        job_type="t",
        variables=variables,
        retries_remaining=0,
        _fetch_instance=_no_instance,
    )


def signature(function: Callable[..., Any]) -> Signature:
    read_once = read(function)
    assert read_once is not None
    return read_once


def call(function: Callable[..., Any], job: Job, state: Mapping[str, Any] | None = None) -> Any:
    return signature(function).bound(function, state or {})(job)


def passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    return wrapper


def takes_the_job(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(job: Any) -> Any:
        return function(Order(job.variables["amount"]))

    return wrapper


def looks_at_the_job(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(job: Any, *args: Any) -> Any:
        return function(Order(job.variables["amount"]), *args)

    return wrapper


def of_order(order: Order) -> None: ...


class Method:
    def method(self, job: Job) -> None: ...

    def __call__(self, job: Job) -> None: ...


def _bare(job): ...  # type: ignore[no-untyped-def]


def _bare_with_default(job, tries=3): ...  # type: ignore[no-untyped-def]


def _annotated(job: Job) -> dict[str, str]: ...  # type: ignore[empty-body]


def _loose(job: Any, *, tries: int = 3) -> Any: ...


def _optional(job: Job | None = None) -> None: ...


def _everything(*args: Any) -> None: ...


def _unresolved(job: "nowhere.Job") -> "Decimal": ...  # type: ignore[empty-body,name-defined]  # noqa: F821


def _unfit_result(job: Job) -> int: ...  # type: ignore[empty-body]


def _unknown_result(job: Job) -> Unknown: ...  # type: ignore[empty-body]


def _twice(job: Job) -> Awaitable[dict[str, int]]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    "function",
    [
        _bare,
        _bare_with_default,
        _annotated,
        _loose,
        _optional,
        _everything,
        _unresolved,
        _unfit_result,
        _twice,
        print,
        Method(),
        Method().method,
        functools.partial(_bare_with_default, tries=5),
        passes_on(_annotated),
        takes_the_job(of_order),
        looks_at_the_job(of_order),
        _unknown_result,
    ],
)
def test_a_handler_of_the_job_alone_is_called_as_ever(function: Callable[..., Any]) -> None:
    assert read(function) is None


@pytest.mark.parametrize("kind", [Order, Struct, Model])
def test_variables_become_the_input(kind: Any) -> None:
    def handler(order: Any) -> Any:
        return order

    handler.__annotations__["order"] = kind
    assert call(handler, make_job(amount=3, other="x")) == kind(amount=3)


def test_a_typed_dict_is_an_input_with_its_own_keys() -> None:
    def handler(order: Typed) -> Typed:
        return order

    assert call(handler, make_job(amount=3, other="x")) == {"amount": 3}


NAMES = ("order: Order", "job: Job", "db: Db")


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)))
@pytest.mark.parametrize("named_from", range(4))
@pytest.mark.parametrize("wrapped", [False, True])
def test_arguments_go_where_their_annotations_say(order: tuple[str, ...], named_from: int, wrapped: bool) -> None:
    """In every order, positional or named from one on, with a default parameter between them."""
    parts = [*order[:named_from], *(["*"] if named_from < 3 else []), "tries: int = 3", *order[named_from:]]
    if named_from == 0:
        parts.remove("tries: int = 3")
        parts.append("tries: int = 3")
    namespace: dict[str, Any] = {"Order": Order, "Job": Job, "Db": Db}
    exec(f"def f({', '.join(parts)}): return order, job, db, tries", namespace)  # noqa: S102
    function = passes_on(namespace["f"]) if wrapped else namespace["f"]
    job = make_job(amount=3)
    assert call(function, job, {"db": "pool"}) == (Order(3), job, "pool", 3)


def test_what_follows_a_parameter_that_keeps_its_default_is_named() -> None:
    def handler(order: Order, tries: int = 3, job: Job | None = None) -> Any:
        return order, tries, job

    job = make_job(amount=1)
    assert call(handler, job) == (Order(1), 3, job)


def test_an_unannotated_first_parameter_is_the_job_beside_others_too() -> None:
    def handler(job, db: Db):  # type: ignore[no-untyped-def]
        return job, db

    job = make_job()
    assert call(handler, job, {"db": 1}) == (job, 1)


@pytest.mark.parametrize("kind", [Order, Struct, Model])
def test_what_annotated_adds_is_left_aside(kind: Any) -> None:
    def handler(order: Any, job: Annotated[Job, "leased"]) -> Any:
        return order, job

    handler.__annotations__ |= {"order": Annotated[kind, "paid"], "return": Annotated[kind, "sent"]}
    job = make_job(amount=3)
    assert call(handler, job) == (kind(amount=3), job)
    assert (signature(handler).input_name, signature(handler).gives) == (kind.__name__, frozenset({"amount"}))
    with pytest.raises(NonRetryableError, match=r"amount: missing|amount: field required"):
        call(handler, make_job())


def test_annotations_in_quotes_are_read() -> None:
    def handler(order: "Order", db: 'Annotated[Order, State("db")]') -> "Struct":
        return Struct(order.amount)

    assert signature(handler).states == {"db"}
    assert call(handler, make_job(amount=3), {"db": 1}) == Struct(3)


def test_a_model_as_the_result_of_a_handler_of_the_job_is_encoded() -> None:
    def handler(job: Job) -> Order:
        return Order(job.variables["amount"])

    job = make_job(amount=3)
    assert signature(handler).result(call(handler, job)) == {"amount": 3}


class Called:
    async def __call__(self, order: "Order", *, job: "Job") -> "Struct":
        raise NotImplementedError

    def method(self, order: "Order", job: "Job") -> "Struct":
        return Struct(order.amount)


@pytest.mark.parametrize("function", [Called(), Called().method, functools.partial(Called().method, job=make_job())])
def test_methods_objects_and_partials_have_annotations_too(function: Callable[..., Any]) -> None:
    assert (signature(function).input_name, signature(function).gives) == ("Order", frozenset({"amount"}))


def test_a_function_that_returns_an_awaitable_says_what_it_gives() -> None:
    def handler(job: Job) -> Awaitable[Struct]:
        raise NotImplementedError

    assert signature(handler).gives == frozenset({"amount"})


def test_an_input_may_be_optional_in_name() -> None:
    def handler(order: Order | None) -> Any:
        return order

    assert call(handler, make_job(amount=3)) == Order(3)


def test_a_handler_without_an_input_needs_nothing() -> None:
    def handler(db: Db) -> Any:
        return db

    read_once = signature(handler)
    assert (read_once.input_name, read_once.schema, read_once.needs) == ("", None, frozenset())


def test_a_state_that_is_not_there_is_named() -> None:
    def handler(db: Db) -> None: ...

    with pytest.raises(LookupError, match="takes 'db' from the lifespan's state"):
        call(handler, make_job())


def test_a_wrong_input_is_permanent() -> None:
    with pytest.raises(NonRetryableError, match=r"^the variables do not fit Order: amount: expected int, got str$"):
        call(of_order, make_job(amount="x"))


def test_the_schema_is_that_of_the_input() -> None:
    def handler(order: Typed) -> Struct | None: ...

    read_once = signature(handler)
    assert read_once.schema is not None
    assert read_once.schema["$defs"]["Typed"]["required"] == ["amount"]
    assert read_once.needs == {"amount"}
    assert set(read_once.gives or ()) == {"amount"}
    assert read_once.input_name == "Typed"


def _to_none(order: Order) -> None: ...


def _to_mapping(order: Order) -> dict[str, int]: ...  # type: ignore[empty-body]


def _to_optional_mapping(order: Order) -> dict[str, int] | None: ...


def _to_optional(order: Order) -> Struct | None: ...


def _unsaid(order: Order): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "gives"),
    [(_to_none, set()), (_to_mapping, None), (_to_optional_mapping, None), (_to_optional, {"amount"}), (_unsaid, None)],
)
def test_what_a_handler_gives_is_known_if_it_says_so(function: Callable[..., Any], gives: Any) -> None:
    assert signature(function).gives == gives


def _no_parameter() -> None: ...


def _only_named(**named: Any) -> None: ...


def _two_inputs(one: Order, other: Struct) -> None: ...


def _bare_state(job: Job, db: State("db")) -> None: ...  # type: ignore[valid-type]


def _default_state(job: Job, db: object = State("db")) -> None: ...


def _number(amount: int) -> None: ...


def _list(order: Listed) -> None: ...


def _class(order: Unknown) -> None: ...


def _unannotated(order: Order, job) -> None: ...  # type: ignore[no-untyped-def]


def _named_unannotated(job: Job, *, db) -> None: ...  # type: ignore[no-untyped-def]


def _type_checking(order: "Decimal") -> None: ...


def _list_result(order: Order) -> list[int]: ...  # type: ignore[empty-body]


def _class_result(order: Order) -> Unknown: ...  # type: ignore[empty-body]


def _partly(order: Order | int) -> None: ...


def _union(order: Order | dict[str, int]) -> None: ...


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (_no_parameter, "cannot be called with one argument, the job"),
        (_only_named, "cannot be called with one argument, the job"),
        (_two_inputs, "has several inputs, 'one' and 'other'; only one is possible"),
        (
            _bare_state,
            "has a parameter 'db' with State('db') outside of Annotated: must be db: Annotated[…, State('db')]",
        ),
        (_default_state, "has a parameter 'db' with State('db') outside of Annotated: must be db: Annotated["),
        (_number, "has a parameter 'amount' of type int: must be Job, Annotated"),
        (_list, "has a parameter 'order' of type Listed: must be Job, Annotated"),
        (_class, "has a parameter 'order' that cannot be an input: TypeError"),
        (_unannotated, "has a parameter 'job' without an annotation: must be Job, Annotated"),
        (_named_unannotated, "has a parameter 'db' without an annotation: must be Job, Annotated"),
        (_type_checking, "has a parameter 'order' whose annotation 'Decimal' cannot be read: NameError"),
        (_list_result, "returns list[int]; must be a mapping"),
        (_class_result, "returns what cannot be JSON: TypeError"),
        (_partly, "has a parameter 'order' of type Order | int: must be Job, Annotated"),
        (_union, "has a parameter 'order' that cannot be an input: TypeError: Type unions may not"),
    ],
)
def test_a_wrong_signature_is_refused_at_registration_with_its_place(
    function: Callable[..., Any], sentence: str
) -> None:
    registry = Registry()
    with pytest.raises(ValueError, match="job type 'pay'") as raised:
        registry.handler("pay")(function)
    line = function.__code__.co_firstlineno
    start = f"job type 'pay': {function.__qualname__} (test_signature.py, line {line}) "
    assert str(raised.value).startswith(start + sentence)
    assert "\n" not in str(raised.value)
    assert len(registry) == 0
