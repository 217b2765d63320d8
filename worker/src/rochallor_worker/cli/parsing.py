"""From the text of an environment variable to a setting's value. Values that are no text are returned unchanged."""

import ipaddress
import json
import re
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from rochallor_worker.errors import StartError
from rochallor_worker.handlers.breaker import DEFAULT
from rochallor_worker.handlers.limits import Limits, Scope
from rochallor_worker.source.kafka import properties

SHOWN = 100
"""Most characters of a bad value that are repeated, so that what is allowed stays visible."""
MAX_SECONDS = 1e9
"""Longest duration, about thirty years: clocks and timers cannot count further."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def shortened(text: str) -> str:
    """Return a bad value as it is repeated in a message."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def parse_duration(text: object) -> object:
    """Return the seconds of a duration such as "500ms", "30s", "1m30s". Raises `ValueError` for anything else."""
    if not isinstance(text, str):
        return text
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > MAX_SECONDS:
        raise ValueError("not a duration: too long")
    return seconds


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds, from a text with units."""
DURATION_TEXT = "a duration such as 500ms, 30s, 1m30s or 2h"


def split(text: object) -> object:
    """Split at commas; return each part once."""
    if not isinstance(text, str):
        return text
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def headers(text: object) -> object:
    """Return the names and values of lines `Name: value`. Raises `ValueError`."""
    if not isinstance(text, str):
        return text
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(name.strip() and colon for name, colon, _ in pairs):
        raise ValueError("not headers")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


class LimitSetting(BaseModel):
    """What a setting says about one job type, with the names that the resource has for it."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    job_type: str
    parallelism: Annotated[int | None, Field(ge=1)] = None
    per_second: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    scope: Scope | None = None
    breaker: bool | None = None

    def over(self, limits: Limits) -> Limits:
        """Return the limits of a handler, where each field that is set here replaces the handler's."""
        given = self.model_dump(include={"parallelism", "per_second", "scope"}, exclude_none=True)
        if self.breaker is not None:
            given["breaker"] = (limits.breaker or DEFAULT) if self.breaker else None
        return replace(limits, **given)


_ALLOWED = {
    "jobType": "a job type",
    "parallelism": "a whole number above 0",
    "perSecond": "a number above 0",
    "scope": '"pod" or "resource"',
    "breaker": "true or false",
}
"""What each field of a limit must be."""


def _limit_setting(number: int, item: object) -> LimitSetting:
    try:
        setting = LimitSetting.model_validate(item)
    except ValidationError as error:
        wrong = _wrong(error)
    else:
        wrong = _pointless(setting)
    if wrong:
        raise StartError(f"ROCHALLOR_LIMITS is not valid: item {number}: {wrong}") from None
    return setting


def _wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return f"must be an object, not {_as_json(first['input'])}"
    field = str(first["loc"][0])
    if first["type"] == "missing":
        return f"{field} is missing: must be {_ALLOWED[field]}"
    if field not in _ALLOWED:
        return f"{_as_json(field)} is no field of it; the fields are {', '.join(_ALLOWED)}"
    return f"{field} is {_as_json(first['input'])}: must be {_ALLOWED[field]}"


def _pointless(setting: LimitSetting) -> str:
    """Return what is wrong with a setting whose fields are valid, or nothing. The resource refuses the same."""
    if setting.scope is not None and setting.per_second is None:
        return "scope is set without perSecond: add perSecond, or remove scope"
    if not setting.model_dump(exclude={"job_type"}, exclude_none=True):
        return f"limits nothing: add one of {', '.join(list(_ALLOWED)[1:])}"
    return ""


def _as_json(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return shortened(json.dumps(value))


def _decoded(text: str) -> object:
    """Return a JSON value. Raises `ValueError`."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None


def limit_settings(text: object) -> object:
    """Return the items of a JSON list, each of another job type. Raises `ValueError`, and `StartError` for items."""
    if not isinstance(text, str):
        return text
    items = _decoded(text)
    if not isinstance(items, list):
        raise ValueError("not a list")
    found = [_limit_setting(number, item) for number, item in enumerate(items, 1)]
    numbers: dict[str, int] = {}
    for number, item in enumerate(found, 1):
        if (before := numbers.setdefault(item.job_type, number)) != number:
            both = f"items {before} and {number} are both of job type {_as_json(item.job_type)}"
            raise StartError(f"ROCHALLOR_LIMITS is not valid: {both}; only one is possible")
    return tuple(found)


def client_properties(text: object) -> object:
    """Return the names and values of a JSON object of texts, numbers and booleans. Raises `ValueError`, and
    `StartError` for one that may not be set."""
    if not isinstance(text, str):
        return text
    found = _decoded(text)
    if not isinstance(found, dict) or not all(isinstance(value, str | int | float) for value in found.values()):
        raise ValueError("not an object of plain values")
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
    properties.check(values)
    return values


class NewTopicsSetting(BaseModel):
    """The setting that creates topics, with the names that the resource has for its fields."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    partitions: Annotated[int, Field(ge=1, le=10_000)]
    replication_factor: Annotated[int, Field(ge=1, le=100)]


def new_topics(text: object) -> object:
    """Return the fields of a JSON object. Raises `ValueError` if it is none."""
    return _decoded(text) if isinstance(text, str) else text


def url_with_port(text: str | None) -> str | None:
    """Raise `ValueError` for a URL with an invalid port or an incomplete IPv6 address."""
    if text is not None:
        _ = urlsplit(text).port
    return text


def ports(text: str | None) -> str | None:
    """Raise `ValueError` if one of the addresses, separated by commas, has a port above 65535 or half a [ ] pair."""
    for address in (text or "").split(","):
        urlsplit(f"//{address.removeprefix('https://')}")
        if int(address.rpartition(":")[2] or 0) > 65535:
            raise ValueError("not a port")
    return text


def ip_address(text: str) -> str:
    """Raise `ValueError` unless the text is an IP address or empty."""
    if text:
        ipaddress.ip_address(text)
    return text


def is_text(value: str) -> bool:
    """Whether it was UTF-8: Python keeps other bytes of the environment as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
