"""Models, the types of a typed handler's input and output: from variables, to variables, and their JSON schema.

A model is a dataclass, a `msgspec.Struct`, a `TypedDict` or a pydantic model. pydantic is never imported here: its
models are known by their methods.
"""

import dataclasses
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from rochallor_worker.errors import NonRetryableError

Schema = dict[str, Any]
"""A JSON schema."""

_MISSING = re.compile(r"Object missing required field `(.*)`")
_NAMELESS = "the variables"
"""What is wrong where it is no single field."""


class Fields(NamedTuple):
    """The fields of a model as JSON: all of them, and those that must be there."""

    all: frozenset[str]
    required: frozenset[str]


# from variables


def reader(kind: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Return what makes a value of `kind` out of variables; it raises `NonRetryableError` that lists the wrong fields.

    What a validation of the model's own raises, other than `ValueError` and `TypeError`, passes through.
    """
    return partial(_read_pydantic if _is_pydantic(kind) else _read, kind)


def _read(kind: Any, variables: Mapping[str, Any]) -> Any:
    try:
        return msgspec.convert(variables, kind, str_keys=True, dec_hook=_from_json)
    except msgspec.ValidationError as error:
        raise _invalid(kind, _wrong_fields(kind, variables, error)) from None


def _read_pydantic(kind: Any, variables: Mapping[str, Any]) -> Any:
    try:
        return kind.model_validate(variables)
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise
        wrong = [_wrong(_path(one["loc"]), one["msg"]) for one in error.errors()]
        raise _invalid(kind, wrong) from None


def _invalid(kind: Any, wrong: list[str]) -> NonRetryableError:
    return NonRetryableError(f"the variables do not fit {name_of(kind)}: {'; '.join(wrong)}")


def _wrong_fields(kind: Any, variables: Mapping[str, Any], first: msgspec.ValidationError) -> list[str]:
    """Return every wrong field: msgspec stops at the `first` one, so each is tried by itself."""
    types_of_fields = dict(_types_of_fields(kind))
    fields = fields_of(schema_of(kind))
    wrong = [_wrong(name, "missing") for name in (fields.required - variables.keys() if fields else ())]
    for name in types_of_fields.keys() & variables.keys():
        try:
            msgspec.convert(variables[name], types_of_fields[name], str_keys=True, dec_hook=_from_json)
        except msgspec.ValidationError as error:
            wrong.append(_reworded(error, name))
    if (one := _reworded(first)) not in wrong:  # a rule of the whole, such as a field that may not be there
        wrong.append(one)
    return sorted(wrong)


def _types_of_fields(kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a model of msgspec's by their names in JSON."""
    origin = typing.get_origin(kind) or kind
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        yield from ((field.encode_name, field.type) for field in msgspec.structs.fields(kind))
    elif dataclasses.is_dataclass(origin) or typing.is_typeddict(origin):
        for name, hint in typing.get_type_hints(origin, include_extras=True).items():
            inner = hint
            while typing.get_origin(inner) in (typing.Required, typing.NotRequired):
                inner = typing.get_args(inner)[0]
            if typing.get_origin(inner) is not typing.ClassVar:
                yield name, inner


def _reworded(error: msgspec.ValidationError, field: str = "") -> str:
    """Return msgspec's message as `path: reason`; `field` is where it looked."""
    of_key = " - at `key` in `$" in str(error)
    reason, _, place = str(error).replace("`key` in ", "").partition(" - at `$")
    place = place.removesuffix("`").removeprefix(".")
    path = f"{field}{'.' if field and place and not place.startswith('[') else ''}{place}"
    if missing := _MISSING.fullmatch(reason):
        return _wrong(f"{path}.{missing[1]}".lstrip("."), "missing")
    return _wrong(f"{path or _NAMELESS}{' (a key)' if of_key else ''}", reason)


def _wrong(path: str, reason: str) -> str:
    words = " ".join(reason.replace("`", "").split())
    return f"{path}: {words[:1].lower()}{words[1:]}"


def _path(location: tuple[str | int, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).lstrip(".") or _NAMELESS


def _from_json(kind: Any, value: Any) -> Any:
    """Make a value of a type that msgspec does not know: a pydantic model inside of another one."""
    if _is_pydantic(kind):
        return kind.model_validate(value)
    raise NotImplementedError


# to variables


def to_json(value: Any) -> Any:
    """Return a value in the form of JSON: dates and times in ISO 8601; Decimal and UUID as text, enums as their values.

    Raises `TypeError` for a type without such a form, and `RecursionError` for a value that contains itself.
    """
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_other_to_json)


def _other_to_json(value: Any) -> Any:
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    for plain in (str, int, float):  # of a class of its own, which the json module takes too
        if isinstance(value, plain):
            return plain(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


# schema


def schema_of(kind: Any) -> Schema:
    """Return the JSON schema of a type. Raises whatever msgspec or pydantic does for one that cannot be JSON."""
    if _is_pydantic(kind):
        schema: Schema = kind.model_json_schema()
        return schema
    return msgspec.json.schema(kind, schema_hook=_schema_of_other)


def _schema_of_other(kind: Any) -> Schema:
    if _is_pydantic(kind):
        return {"title": kind.__name__, "type": "object"}
    raise NotImplementedError


def fields_of(schema: Schema) -> Fields | None:
    """Return the fields of an object: of several kinds of them, all fields, and those that each requires.

    None if it may be something else than an object or null.
    """
    kinds = list(alternatives(schema))
    if any(kind and kind.get("type") not in {"object", "null"} for kind in kinds):
        return None
    objects = [kind for kind in kinds if kind.get("type") == "object"]
    required = [frozenset(kind.get("required", ())) for kind in objects]
    return Fields(
        frozenset(name for kind in objects for name in kind.get("properties", {})),
        frozenset.intersection(*required) if required else frozenset(),
    )


def alternatives(schema: Schema) -> Iterator[Schema]:
    """Yield what a schema allows, without references and unions."""
    definitions = schema.get("$defs", {})
    pending = [schema]
    while pending:
        one = pending.pop(0)
        if reference := one.get("$ref"):
            pending.append(definitions[reference.rpartition("/")[2]])
        elif several := one.get("anyOf") or one.get("oneOf"):
            pending += several
        else:
            yield {key: value for key, value in one.items() if key != "$defs"}


def name_of(kind: Any) -> str:
    """Return the name of a type, without modules."""
    return kind.__name__ if isinstance(kind, type) else re.sub(r"(?:[\w<>]+\.)+", "", str(kind))


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_validate") and hasattr(kind, "model_json_schema")
