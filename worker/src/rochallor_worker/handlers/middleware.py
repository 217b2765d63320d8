"""Functions around every run of a handler: they see its job, its result and what it raises.

async def audit(job, call):
    result = await call()  # the next middleware, and in the end the handler
    return result
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rochallor_worker.job import Job

Call = Callable[[], Awaitable[Any]]
"""Runs what is inside a middleware, and returns its result or raises its error (`TimeoutError` at the time limit)."""
Middleware = Callable[..., Awaitable[Any]]
"""An async function of `job` and `call`, and of `state`, what `lifespan` yielded, if it has a parameter of that name.

What it returns is the run's result, and what it raises the run's error, as if the handler had done so; it need not
call. The time limit of the run covers it.
"""
Layer = Callable[[Job, Call, Mapping[str, Any]], Awaitable[Any]]
"""A middleware, called with all three."""


def unfit(middleware: Middleware) -> str:
    """Return why an async function cannot be middleware, or nothing."""
    try:
        signature = inspect.signature(middleware)
        signature.bind(None, None, **({"state": None} if "state" in signature.parameters else {}))
    except (TypeError, ValueError):
        return "must take two arguments, job and call, and may take one more that is named state"
    return ""


def layer(middleware: Middleware) -> Layer:
    """Return a middleware in the form in which handlers have it."""
    if "state" in inspect.signature(middleware).parameters:
        return lambda job, call, state: middleware(job, call, state=state)
    return lambda job, call, _: middleware(job, call)


def through(layers: Sequence[Layer], job: Job, state: Mapping[str, Any], call: Call) -> Call:
    """Return `call` with the middleware around it, the first outermost."""
    for one in reversed(layers):
        call = partial(one, job, call, state)
    return call
