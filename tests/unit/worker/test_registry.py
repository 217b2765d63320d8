import pytest

from rochallor_worker import Job, Registry


def test_a_second_handler_of_a_type_is_refused() -> None:
    registry = Registry()

    @registry.handler("pay")
    def first(job: Job) -> None: ...

    def second(job: Job) -> None: ...

    with pytest.raises(
        ValueError, match=r"job type 'pay' has two handlers, .*first and .*second; only one is possible"
    ):
        registry.handler("pay")(second)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_above_zero(timeout: float) -> None:
    with pytest.raises(ValueError, match="'pay': timeout is in seconds and above 0"):
        Registry().handler("pay", timeout=timeout)


def test_an_empty_job_type_is_refused() -> None:
    with pytest.raises(ValueError, match="non-empty string"):
        Registry().handler("")


def test_kinds_of_handlers_are_told_apart() -> None:
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
