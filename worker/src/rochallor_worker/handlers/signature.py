"""The signature of a typed handler: what it takes and what it returns, read once, when it is registered."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter
from typing import Any

from rochallor_worker.handlers.annotations import VARIADIC, Unreadable, declared_by, first_line, hints_of
from rochallor_worker.handlers.models import (
    Schema,
    alternatives,
    fields_of,
    name_of,
    reader,
    schema_of,
    to_json,
)
from rochallor_worker.job import Job

Source = Callable[[Job, Mapping[str, Any]], Any]
"""Gives a parameter its value, out of the job and the lifespan's state."""

_ANNOTATIONS = 'Job, Annotated[…, State("name")], or a dataclass, msgspec.Struct, TypedDict or pydantic model'


@dataclass(frozen=True, slots=True)
class State:
    """In a handler's signature: what the lifespan gives under this name, as in `db: Annotated[Pool, State("db")]`."""

    name: str


@dataclass(frozen=True, slots=True)
class Signature:
    """How a typed handler is called."""

    input_name: str = ""
    """The name of the input's type; empty for a handler without an input."""
    schema: Schema | None = None
    """The JSON schema of the input."""
    output_schema: Schema | None = None
    """None where the handler does not say what it returns."""
    states: frozenset[str] = frozenset()
    """The names of what it takes from the lifespan's state."""
    _positional: tuple[Source, ...] = field(default=(), repr=False)
    _named: Mapping[str, Source] = field(default_factory=dict, repr=False)

    def arguments(self, job: Job, state: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, positional and named.

        Raises `NonRetryableError` that lists the fields if the variables do not fit the input, and `LookupError` for
        what the lifespan does not give.
        """
        positional = [source(job, state) for source in self._positional]
        return positional, {name: source(job, state) for name, source in self._named.items()}

    def bound(self, function: Callable[..., Any], state: Mapping[str, Any]) -> Callable[[Job], Any]:
        """Return the function as one of the job alone."""

        def call(job: Job) -> Any:
            positional, named = self.arguments(job, state)
            return function(*positional, **named)

        return call

    def result(self, value: Any) -> Any:
        """Return what the handler returned in the form of JSON. Raises `TypeError` where there is none."""
        return to_json(value)

    @property
    def needs(self) -> frozenset[str]:
        """The variables without which it cannot run."""
        fields = fields_of(self.schema or {})
        return frozenset() if fields is None else fields.required

    @property
    def gives(self) -> frozenset[str] | None:
        """The variables that it may return; None if they are not known."""
        schema = self.output_schema
        if schema is None or any("properties" not in one and one.get("type") != "null" for one in alternatives(schema)):
            return None
        fields = fields_of(schema)
        return fields and fields.all


def read(function: Callable[..., Any]) -> Signature | None:
    """Return how to call a handler; None if with the job alone, as `def f(job)`, and its result needs no other form.

    Raises `ValueError` that says what is wrong with it.
    """
    try:
        declared = declared_by(function)
        signature = inspect.signature(declared, follow_wrapped=False)
    except ValueError:  # a builtin without a signature
        return None
    hint = hints_of(declared, function)
    sources = _sources(signature, hint)
    alone = not sources.named and sources.positional == [_the_job]
    output = _output(hint("return", signature.return_annotation), lenient=alone)
    if alone and output is None:
        return None
    name, kind = next(iter(sources.inputs.items()), ("", None))
    return Signature(
        name_of(kind) if name else "",
        schema_of(kind) if name else None,
        output,
        frozenset(sources.states),
        tuple(sources.positional),
        sources.named,
    )


@dataclass(slots=True)
class _Sources:
    """Where the arguments come from, and what was found on the way."""

    positional: list[Source] = field(default_factory=list)
    named: dict[str, Source] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)


def _sources(signature: inspect.Signature, hint: Callable[[str, Any], Any]) -> _Sources:
    found = _Sources()
    parameters = [one for one in signature.parameters.values() if one.kind not in VARIADIC]
    skipped = False
    for index, parameter in enumerate(parameters):
        first = index == 0 and parameter.kind is not Parameter.KEYWORD_ONLY
        source = _source(parameter, hint(parameter.name, parameter.annotation), first, found)
        if source is None:
            skipped = True
        elif parameter.kind is Parameter.KEYWORD_ONLY or skipped:
            found.named[parameter.name] = source
        else:
            found.positional.append(source)
    if any(one.kind is Parameter.VAR_POSITIONAL for one in signature.parameters.values()) and not found.positional:
        found.positional.append(_the_job)
    if not (found.positional or found.named):
        raise ValueError("cannot be called with one argument, the job")
    if len(found.inputs) > 1:
        raise ValueError(f"has several inputs, {' and '.join(map(repr, found.inputs))}; only one is possible")
    return found


def _source(parameter: Parameter, hint: Any, first: bool, found: _Sources) -> Source | None:
    """Return where a parameter's value comes from; None if it keeps its default."""
    if _is_job(hint, first):
        return _the_job
    if state := next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, State)), None):
        found.states.add(state.name)
        return partial(_from_state, state.name)
    if misplaced := next((one for one in (hint, parameter.default) if isinstance(one, State)), None):
        taken = f"State({misplaced.name!r})"
        must = f"{parameter.name}: Annotated[…, {taken}]"
        raise ValueError(f"has a parameter {parameter.name!r} with {taken} outside of Annotated: must be {must}")
    if parameter.default is not Parameter.empty and not first:
        return None
    if isinstance(hint, Unreadable):
        raise ValueError(f"has a parameter {parameter.name!r} whose annotation {hint}; import its types at run time")
    if _is_unsaid(hint):
        raise ValueError(f"has a parameter {parameter.name!r} without an annotation: must be {_ANNOTATIONS}")
    kind = _plain(hint)
    found.inputs[parameter.name] = kind
    return _the_input(parameter.name, kind)


def _is_job(hint: Any, first: bool) -> bool:
    if isinstance(hint, Unreadable):
        return hint.text.rpartition(".")[2] == Job.__name__  # imported for the type checker only
    return (first and _is_unsaid(hint)) or any(one is Job for one in (hint, *typing.get_args(hint)))


def _plain(hint: Any) -> Any:
    """Return a type without what `Annotated` adds."""
    return hint.__origin__ if typing.get_origin(hint) is typing.Annotated else hint


def _is_unsaid(hint: Any) -> bool:
    return any(hint is unsaid for unsaid in (Parameter.empty, Any, object))


def _the_job(job: Job, _: Mapping[str, Any]) -> Any:
    return job


def _from_state(name: str, _: Job, state: Mapping[str, Any]) -> Any:
    if name not in state:
        raise LookupError(f"the handler takes {name!r} from the lifespan's state, which has no such name")
    return state[name]


def _the_input(name: str, kind: Any) -> Source:
    try:
        schema = schema_of(kind)
        fits = any(one.get("type") == "object" for one in alternatives(schema)) and fields_of(schema) is not None
    except Exception as error:
        raise ValueError(f"has a parameter {name!r} that cannot be an input: {first_line(error)}") from error
    if not fits:
        raise ValueError(f"has a parameter {name!r} of type {name_of(kind)}: must be {_ANNOTATIONS}")
    read_input = reader(kind)
    return lambda job, _: read_input(job.variables)


def _output(hint: Any, *, lenient: bool) -> Schema | None:
    """Return the schema of what a handler returns, if it says so; a `lenient` look finds nothing where others raise."""
    hint = _plain(hint)
    while typing.get_origin(hint) in (Awaitable, Coroutine):  # an async function behind a decorator that is not
        hint = typing.get_args(hint)[-1]
    if isinstance(hint, Unreadable) or _is_unsaid(hint) or hint in (typing.NoReturn, typing.Never):
        return None
    try:
        schema = schema_of(hint)
    except Exception as error:
        if lenient:
            return None
        raise ValueError(f"returns what cannot be JSON: {first_line(error)}") from error
    fields = fields_of(schema)
    if fields is None and not lenient:
        raise ValueError(f"returns {name_of(hint)}; must be a mapping, a model (see its input) or None")
    return schema if fields is not None and (fields.all or not lenient) else None
