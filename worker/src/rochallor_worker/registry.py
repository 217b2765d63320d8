"""Which handler runs a job type."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rochallor_worker.job import Job

Result = Mapping[str, Any] | None
AsyncFunction = Callable[[Job], Awaitable[Result]]
SyncFunction = Callable[[Job], Result]
F = TypeVar("F", bound=Callable[[Job], Any])


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function. `timeout` is in seconds; None means the worker's own limit."""

    job_type: str
    function: Callable[[Job], Any]
    timeout: float | None
    is_async: bool

    @property
    def name(self) -> str:
        """The function's name, for people."""
        return _name(self.function)


class Registry:
    """Handlers by job type: one each."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def handler(self, job_type: str, *, timeout: float | None = None) -> Callable[[F], F]:
        """Register the decorated function for `job_type`.

        A coroutine function runs on the event loop; a plain function runs in a thread. It returns a mapping, merged
        into the instance's variables, or None. `timeout` is in seconds. Raises `ValueError` for a second handler of a
        type, an empty type or a timeout that is not above zero.
        """
        if not job_type or not isinstance(job_type, str):
            raise ValueError(f"a job type is a non-empty string, not {job_type!r}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"job type {job_type!r}: timeout is in seconds and above 0, not {timeout!r}")

        def register(function: F) -> F:
            if (known := self._handlers.get(job_type)) is not None:
                names = f"{known.name} and {_name(function)}"
                raise ValueError(f"job type {job_type!r} has two handlers, {names}; only one is possible")
            self._handlers[job_type] = Handler(job_type, function, timeout, _is_async(function))
            return function

        return register

    def get(self, job_type: str) -> Handler | None:
        """Return the handler of a job type."""
        return self._handlers.get(job_type)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)

    @property
    def job_types(self) -> list[str]:
        """The registered job types, in order of registration."""
        return list(self._handlers)


def _is_async(function: Callable[..., Any]) -> bool:
    # an object with an async __call__ counts, which iscoroutinefunction alone does not see
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
