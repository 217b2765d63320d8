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

MAX_SECONDS = 1e9
"""Longest duration, about thirty years: clocks and timers cannot count further."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


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
        """Return the limits of a handler with what is set here in place of its own."""
        given = {name: getattr(self, name) for name in ("parallelism", "per_second", "scope")}
        given = {name: value for name, value in given.items() if value is not None}
        if self.breaker is not None:
            given["breaker"] = (limits.breaker or DEFAULT) if self.breaker else None
        return replace(limits, **given)


def _limit_setting(number: int, item: object) -> LimitSetting:
    try:
        return LimitSetting.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        wrong = f"{field}: {first['msg']}" if field else "must be an object"
        raise StartError(f"ROCHALLOR_LIMITS is not valid: item {number}: {wrong}") from None


def limit_settings(text: object) -> object:
    """Return the items of a JSON list, each of another job type. Raises `ValueError`, and `StartError` for an item."""
    if not isinstance(text, str):
        return text
    try:
        items = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(items, list):
        raise ValueError("not a list")
    found = [_limit_setting(number, item) for number, item in enumerate(items, 1)]
    if len({item.job_type for item in found}) < len(found):
        raise ValueError("a job type has two items")
    return tuple(found)


def url_with_port(text: str | None) -> str | None:
    """Raise `ValueError` for a URL with an invalid port or an incomplete IPv6 address."""
    if text is not None:
        _ = urlsplit(text).port
    return text


def ports(text: str | None) -> str | None:
    """Raise `ValueError` if one of the addresses, separated by commas, has a port above 65535."""
    for address in (text or "").split(","):
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
