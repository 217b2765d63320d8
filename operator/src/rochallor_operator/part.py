"""What the parts of a spec are made of: frozen models with the CRD's field names, and durations."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


def seconds(duration: str) -> float:
    """Length of a duration string such as 500ms, 30s or 10m. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration: write a whole number and ms, s or m, such as 500ms")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def _duration(value: str) -> str:
    seconds(value)
    return value


Duration = Annotated[str, AfterValidator(_duration)]
"""A duration stays the string that the user wrote."""


class Part(BaseModel):
    """A part of the spec."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)
