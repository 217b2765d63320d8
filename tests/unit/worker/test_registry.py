from typing import Annotated, Any

import pytest

from rochallor_worker import Backoff, Breaker, Job, Registry, StartError, State
from rochallor_worker.handlers.limits import Limits


def test_a_second_handler_of_a_type_is_refused() -> None:
    registry = Registry()

    @registry.handler("pay")
    def first(job: Job) -> None: ...

    def second(job: Job) -> None: ...

    with pytest.raises(
        ValueError,
        match=r"job type 'pay' has two handlers, .*first \(test_registry.py, line 12\) and .*second .*; only one is",
    ):
        registry.handler("pay")(second)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "10", True])
def test_a_timeout_is_a_number_above_zero(timeout: Any) -> None:
    with pytest.raises(ValueError, match="'pay': timeout is in seconds and above 0"):
        Registry().handler("pay", timeout=timeout)


def test_an_empty_job_type_is_refused() -> None:
    with pytest.raises(ValueError, match="non-empty string"):
        Registry().handler("")


def test_kinds_of_handlers_are_distinguished() -> None:
    registry = Registry()

    class Callable:
        async def __call__(self, job: Job) -> None: ...

    @registry.handler("async")
    async def coroutine(job: Job) -> None: ...

    @registry.handler("sync", timeout=3)
    def plain(job: Job) -> None: ...

    registry.handler("object")(Callable())
    assert {handler.job_type: (handler.is_async, handler.timeout) for handler in registry} == {
        "async": (True, None),
        "sync": (False, 3),
        "object": (True, None),
    }


@pytest.mark.parametrize("given", [ValueError, (ValueError, "x"), [ValueError], (int,)])
def test_what_is_not_retried_is_a_tuple_of_exceptions(given: Any) -> None:
    with pytest.raises(ValueError, match="'pay': non_retryable is a tuple of exceptions, not"):
        Registry().handler("pay", non_retryable=given)


def test_a_retry_is_a_backoff() -> None:
    given: Any = 5
    with pytest.raises(ValueError, match="'pay': retry is a Backoff, not 5"):
        Registry().handler("pay", retry=given)
    given = Backoff
    with pytest.raises(ValueError, match=r"'pay': retry is a Backoff, not the class itself: write Backoff\(\)$"):
        Registry().handler("pay", retry=given)


@pytest.mark.parametrize("limit", [0, -1, 2.5, "3", float("nan"), [1], True])
def test_a_limit_is_a_number_of_jobs(limit: Any) -> None:
    with pytest.raises(ValueError, match=r"^job type 'pay': limit is a number of jobs above 0, not .*$"):
        Registry().handler("pay", limit=limit)


@pytest.mark.parametrize("per_second", [0, -1, float("nan"), float("inf"), "30", [1], True])
def test_a_rate_is_a_number_of_runs(per_second: Any) -> None:
    with pytest.raises(ValueError, match=r"^job type 'pay': per_second is a number of runs above 0, not .*$"):
        Registry().handler("pay", per_second=per_second)


@pytest.mark.parametrize("breaker", [True, False, 5, "off", Breaker])
def test_a_breaker_is_a_breaker_or_none(breaker: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^job type 'pay': breaker is a Breaker, or None to have none, not .*$"
    ) as raised:
        Registry().handler("pay", breaker=breaker)
    assert (": write Breaker()" in str(raised.value)) == (breaker is Breaker)


def test_limits_are_kept_can_be_changed_and_belong_to_a_handler() -> None:
    registry, other = Registry(), Registry()
    registry.handler("plain")(lambda _: None)
    registry.handler("pay", limit=3, per_second=0.5, breaker=None)(lambda _: None)
    assert registry["plain"].limits == Limits(None, None, "pod", Breaker(failures=20))
    assert registry["pay"].limits == Limits(3, 0.5, "pod", None)
    other.include(registry, prefix="x-")
    other.limit("x-pay", lambda limits: Limits(limits.parallelism, 8))
    assert other["x-pay"].limits == Limits(3, 8)
    assert registry["pay"].limits == Limits(3, 0.5, "pod", None)
    with pytest.raises(
        StartError, match=r"^there are limits for job type 'pay', which has no handler; registered: x-plain, x-pay$"
    ):
        other.limit("pay", lambda limits: limits)


def test_another_registry_is_included_with_all_that_its_handlers_say() -> None:
    billing, registry = Registry(), Registry()

    @billing.handler("charge", timeout=3, non_retryable=(KeyError,), retry=Backoff(first=2))
    def charge(job: Job) -> None: ...

    registry.handler("charge")(charge)
    registry.include(billing, prefix="billing-")
    assert registry.job_types == ["charge", "billing-charge"]
    included = registry.get("billing-charge")
    assert included is not None
    assert (included.function, included.timeout, included.non_retryable) == (charge, 3, (KeyError,))
    assert included.retry == Backoff(first=2)
    assert billing.job_types == ["charge"]
    with pytest.raises(
        ValueError, match=r"'charge' has two handlers, .*charge \(test_registry.py, line \d+\) and .*charge"
    ):
        registry.include(billing)


def test_a_state_that_no_lifespan_yields_is_a_start_error_that_names_the_handler() -> None:
    registry = Registry()

    @registry.handler("pay")
    def pay(job: Job, db: Annotated[object, State("db")]) -> None: ...

    registry.check_state({"db": 1, "other": 2})
    with pytest.raises(
        StartError, match=r"pay \(test_registry.py, line \d+\) takes State\('db'\) .*, which yields 'other'$"
    ):
        registry.check_state({"other": 2})
