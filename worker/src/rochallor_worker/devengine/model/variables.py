"""Variables: how results are merged into them, how values of a definition are evaluated, and what is refused."""

from collections.abc import Mapping
from typing import Any

from rochallor_worker.devengine.errors import InternalError, SchemaViolationError
from rochallor_worker.devengine.expressions import evaluate, plain
from rochallor_worker.devengine.gojson import through_float64

Variables = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "array": list,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "object": dict,
    "string": str,
}


def merged(variables: Variables, new: Mapping[str, Any] | None) -> Variables:
    """Return variables with new ones, key by key: a new map, so that jobs keep those they started with."""
    return {**variables, **new} if new else variables


def evaluated(value: Any, variables: Mapping[str, Any], now: float) -> Any:
    """Return a value of a definition, with the text `${…}` replaced by the value of that expression.

    Raises `ExpressionError`, and `UnsupportedValueError` if the expression's value has no JSON.
    """
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        return plain(evaluate(value[2:-1], variables, now))
    return through_float64(value)


# U+0000, which PostgreSQL cannot store (contract: `nul-character-*`)


def check_text(what: str, *texts: str) -> None:
    """Raise `InternalError` for a text with U+0000; `what` is the engine's prefix for the failing statement."""
    if any("\0" in text for text in texts):
        raise InternalError(f'{what}ERROR: invalid byte sequence for encoding "UTF8": 0x00 (SQLSTATE 22021)')


def check_json(what: str, value: Any) -> None:
    """Raise `InternalError` for a JSON value with U+0000 in a string or a key."""
    left = [value]
    while left:
        match left.pop():
            case str() as text if "\0" in text:
                raise InternalError(f"{what}ERROR: unsupported Unicode escape sequence (SQLSTATE 22P05)")
            case list() | tuple() as items:
                left += items
            case dict() as fields:
                left += fields.keys()
                left += fields.values()


# schemas, as newer engines know them (engine.md: `input_schema`, `outputs_schema`)
#
# Of JSON Schema the dev engine checks what a test needs to provoke a violation: `required`, and the `type` of the
# top-level properties. What the engine writes after `schema violation: ` is unknown.


def check_schema(schema: Mapping[str, Any] | None, variables: Mapping[str, Any]) -> None:
    """Raise `SchemaViolationError` with every violation of a schema."""
    problems: list[str] = []
    if schema:
        required = schema.get("required")
        names = required if isinstance(required, list) else ()
        problems += [f'property "{name}" is required' for name in names if name not in variables]
        properties = schema.get("properties")
        for name, rule in properties.items() if isinstance(properties, dict) else ():
            wanted = rule.get("type") if isinstance(rule, dict) else None
            if name in variables and wanted is not None and not _fits(variables[name], wanted):
                problems.append(f'property "{name}" must be of type {_named(wanted)}')
    if problems:
        raise SchemaViolationError(f"schema violation: {'; '.join(problems)}")


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_fits(value, one) for one in wanted)
    if wanted == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if wanted not in _TYPES:
        return True  # not a type that is checked here
    return isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))


def _named(wanted: Any) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
