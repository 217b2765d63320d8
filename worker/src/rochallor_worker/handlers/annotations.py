"""The annotations of a function: of the one whose parameters count, read one by one."""

import inspect
import typing
from collections.abc import Callable
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, NamedTuple

VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
"""Kinds of parameters that take whatever comes."""


class Unreadable(NamedTuple):
    """An annotation that cannot be evaluated."""

    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.text!r} cannot be read: {self.reason}"


def hints_of(declared: Callable[..., Any], function: Callable[..., Any]) -> Callable[[str, Any], Any]:
    """Return what reads the annotation of a name, by itself: `typing.get_type_hints` reads all of them or none.

    It returns `Unreadable` for one whose names are not there, as after an import for the type checker only.
    """
    names: dict[str, Any] = {}
    for one in (function, declared, inspect.unwrap(declared)):
        names |= getattr(_code_holder(one), "__globals__", {})

    def hint(name: str, annotation: Any) -> Any:
        if annotation is Parameter.empty:
            return annotation
        holder = SimpleNamespace(__annotations__={name: annotation})
        try:
            return typing.get_type_hints(holder, names, include_extras=True)[name]
        except Exception as error:  # noqa: BLE001 — user code: a name that is not there, or whatever its module raises
            return Unreadable(str(annotation).strip("'\""), first_line(error))

    return hint


def declared_by(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function whose parameters count: behind a decorator that takes anything, the decorated one."""
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
        if any(one.kind not in VARIADIC for one in parameters):
            break
        function = inner
    return function


def _code_holder(function: Any) -> Any:
    """Return the Python function of a partial, a method or an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    return function if hasattr(function, "__globals__") else getattr(function, "__call__", None)  # noqa: B004


def first_line(error: Exception) -> str:
    """Return what an error of others' says, short."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
