"""The handlers, by job type."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from rochallor_worker.backoff import Backoff, is_number
from rochallor_worker.errors import StartError
from rochallor_worker.handlers import lifespan as lifespans
from rochallor_worker.handlers import middleware as layers
from rochallor_worker.handlers.breaker import DEFAULT, Breaker
from rochallor_worker.handlers.lifespan import Lifespan
from rochallor_worker.handlers.limits import NO_LIMITS, Limits, described
from rochallor_worker.handlers.middleware import Layer, Middleware
from rochallor_worker.handlers.signature import Signature, read
from rochallor_worker.job import Job

Result = Mapping[str, Any] | None
AsyncFunction = Callable[[Job], Awaitable[Result]]
SyncFunction = Callable[[Job], Result]
Where = Literal["thread", "process"]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function. `timeout` is in seconds; None means the worker's own, as for `retry`."""

    job_type: str
    function: Callable[..., Any]
    timeout: float | None
    is_async: bool
    signature: Signature | None = None
    """How to call it; None means with the job alone."""
    non_retryable: tuple[type[BaseException], ...] = ()
    """What it raises when another run cannot help."""
    retry: Backoff | None = None
    """How long the report of a retryable failure is delayed."""
    middleware: tuple[Layer, ...] = ()
    """Around every run, the first outermost."""
    executor: Where = "thread"
    """Where a plain function runs."""
    limits: Limits = NO_LIMITS
    """How many of its jobs may run, and when they are no longer asked for."""

    @property
    def name(self) -> str:
        """The function's name."""
        return _name(self.function)


class Registry:
    """Handlers by job type, one for each.

    `lifespan` is an async context manager of the worker; what it yields, by name, is there for handlers and middleware
    (handlers/lifespan.py). `middleware` runs around every handler, the first outermost (handlers/middleware.py).
    Raises `ValueError` for functions that cannot be either.
    """

    def __init__(self, *, lifespan: Lifespan | None = None, middleware: Sequence[Middleware] = ()) -> None:
        self._handlers: dict[str, Handler] = {}
        self.lifespans: tuple[Lifespan, ...] = () if lifespan is None else (_checked_lifespan(lifespan),)
        """Opened in this order."""
        self.middleware: tuple[Layer, ...] = tuple(_layer(one) for one in _checked_list(middleware))
        """Around each handler that is registered here, the first outermost."""

    def __copy__(self) -> "Registry":
        twin = Registry()
        twin._handlers, twin.lifespans, twin.middleware = dict(self._handlers), self.lifespans, self.middleware
        return twin

    def handler(
        self,
        job_type: str,
        *,
        timeout: float | None = None,
        non_retryable: tuple[type[BaseException], ...] = (),
        retry: Backoff | None = None,
        executor: Where = "thread",
        limit: int | None = None,
        per_second: float | None = None,
        breaker: Breaker | None = DEFAULT,
    ) -> Callable[[F], F]:
        """Register the decorated function for `job_type`.

        A coroutine function runs on the event loop; a plain function runs in a thread, or with `executor="process"` in
        a child process, which imports the function's module and is killed at the timeout. It takes the job, or what its
        parameters are annotated with: an input (a dataclass, a `msgspec.Struct`, a `TypedDict` or a pydantic model)
        made of the variables, `Job`, and, except in a process, `Annotated[…, State("name")]`. It returns None, or a
        mapping or a model that is merged into the instance's variables. `timeout` is in seconds. An error of a class in
        `non_retryable` fails the job permanently; the report of any other is delayed by `retry`, within the lease.

        In each pod, at most `limit` jobs of the type run at once, and at most `per_second` runs begin in a second. The
        type is not asked for while its `breaker` is open, which happens after 20 failures in a row; None turns it off.

        Raises `ValueError`, with the function's file and line, for a second handler of a type, an empty type, a timeout
        that is not above zero, a function that yields or whose parameters or result are none of these, and one for a
        process that it cannot import.
        """
        given: Any = job_type  # whatever the annotation says
        if not (isinstance(given, str) and given):
            what = f"{_name(given)} ({_place(given)})" if callable(given) else repr(given)
            raise ValueError(f'a job type is a non-empty string, not {what}: write @registry.handler("job-type")')
        if timeout is not None and not (is_number(timeout) and timeout > 0):
            raise ValueError(f"job type {job_type!r}: timeout is in seconds and above 0, not {timeout!r}")
        if not _are_errors(non_retryable):
            raise ValueError(f"job type {job_type!r}: non_retryable is a tuple of exceptions, not {non_retryable!r}")
        if not isinstance(retry, Backoff | None):
            raise ValueError(f"job type {job_type!r}: retry is a Backoff, not {described(retry, Backoff)}")
        try:
            limits = Limits(limit, per_second, breaker=breaker)
        except ValueError as error:
            raise ValueError(f"job type {job_type!r}: {error}") from None
        if executor not in get_args(Where):
            raise ValueError(f'job type {job_type!r}: executor is "thread" or "process", not {executor!r}')

        def register(function: F) -> F:
            try:
                signature = _read(function)
                if executor == "process":
                    _check_for_process(function, signature)
            except ValueError as error:
                raise ValueError(f"job type {job_type!r}: {_name(function)} ({_place(function)}) {error}") from None
            self._add(
                Handler(
                    job_type,
                    function,
                    timeout,
                    _is_async(function),
                    signature=signature,
                    non_retryable=non_retryable,
                    retry=retry,
                    middleware=self.middleware,
                    executor=executor,
                    limits=limits,
                )
            )
            return function

        return register

    def include(self, other: "Registry", *, prefix: str = "") -> None:
        """Add the handlers that another registry has by now, with `prefix` before their job types.

        They keep their middleware, inside of this registry's, and their lifespan is opened too, after this one's.
        Raises `ValueError` for a job type that has a handler already.
        """
        for handler in list(other):
            middleware = (*self.middleware, *handler.middleware)
            self._add(replace(handler, job_type=f"{prefix}{handler.job_type}", middleware=middleware))
        self.lifespans = (*self.lifespans, *other.lifespans)

    def _add(self, handler: Handler) -> None:
        if (known := self._handlers.get(handler.job_type)) is not None:
            both = " and ".join(f"{one.name} ({_place(one.function)})" for one in (known, handler))
            raise ValueError(f"job type {handler.job_type!r} has two handlers, {both}; only one is possible")
        self._handlers[handler.job_type] = handler

    def limit(self, job_type: str, change: Callable[[Limits], Limits]) -> None:
        """Change the limits of a job type. Raises `StartError` if it has no handler."""
        if (handler := self._handlers.get(job_type)) is None:
            known = ", ".join(self.job_types)
            raise StartError(f"there are limits for job type {job_type!r}, which has no handler; registered: {known}")
        self._handlers[job_type] = replace(handler, limits=change(handler.limits))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise `StartError` if a handler takes from the lifespan's state what is not there."""
        for handler in self:
            for name in sorted(handler.signature.states - state.keys()) if handler.signature else ():
                place = f"{handler.name} ({_place(handler.function)})"
                given = ", ".join(map(repr, state)) or "nothing"
                raise StartError(f"{place} takes State({name!r}) from the lifespan, which yields {given}")

    def get(self, job_type: str) -> Handler | None:
        """Return the handler of a job type."""
        return self._handlers.get(job_type)

    def __getitem__(self, job_type: str) -> Handler:
        """Return the handler of a job type. Raises `KeyError` if there is none."""
        return self._handlers[job_type]

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)

    @property
    def job_types(self) -> list[str]:
        """The registered job types, in order of registration."""
        return list(self._handlers)


def checked_job_types(registry: Registry, job_types: Sequence[str]) -> list[str]:
    """Return the job types to claim. Raises `StartError` for one without a handler, or when there is none."""
    if not len(registry):
        raise StartError("the registry has no handler; register at least one with @registry.handler(job_type)")
    missing = [job_type for job_type in job_types if job_type not in registry.job_types]
    if missing:
        raise StartError(
            f"no handler for job type {', '.join(map(repr, missing))} (ROCHALLOR_JOB_TYPES); registered: "
            f"{', '.join(registry.job_types)}"
        )
    return list(job_types) or registry.job_types


def _is_async(function: Callable[..., Any]) -> bool:
    # an object with an async __call__ counts, which iscoroutinefunction alone does not see
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _read(function: Callable[..., Any]) -> Signature | None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError("yields; a handler returns its result")
    return read(function)


def _are_errors(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(one, type) and issubclass(one, BaseException) for one in given)


def _checked_lifespan(lifespan: Lifespan) -> Lifespan:
    if wrong := lifespans.unfit(lifespan):
        raise ValueError(f"the lifespan {_name(lifespan)} ({_place(lifespan)}) {wrong}")
    return lifespan


def _checked_list(given: Any) -> Iterable[Middleware]:
    if callable(given):
        raise ValueError(f"middleware is a list, not the function {_name(given)} ({_place(given)}): write it in [ ]")
    if not isinstance(given, Iterable):
        raise ValueError(f"middleware is a list of async functions, not {given!r}")
    return given


def _layer(middleware: Middleware) -> Layer:
    wrong = layers.unfit(middleware) if _is_async(middleware) else "is not async; must be an async def"
    if wrong:
        raise ValueError(f"the middleware {_name(middleware)} ({_place(middleware)}) {wrong}")
    return layers.layer(middleware)


def _check_for_process(function: Callable[..., Any], signature: Signature | None) -> None:
    """Raise `ValueError` if a function cannot run in another process."""
    if _is_async(function):
        raise ValueError("is async; a handler in a process is a plain function")
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<none>")
    if "<" in name:
        raise ValueError("is not at the top level of a module, from where its process could import it")
    if module in {None, "__main__"}:
        raise ValueError("is in the program itself; put it into a module, from where its process can import it")
    if signature is not None and signature.states:
        taken = ", ".join(f"State({name!r})" for name in sorted(signature.states))
        raise ValueError(f"takes {taken} from the lifespan, which a process cannot reach")


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _place(function: Callable[..., Any]) -> str:
    """Return where a function is defined."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None) or getattr(getattr(inner, "__call__", None), "__code__", None)  # noqa: B004
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}" if code is not None else "no Python code"
