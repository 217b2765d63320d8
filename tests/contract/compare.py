"""Recorded answers and those that an engine gives: what stands for what, and where they first differ.

In what is expected, `$inst1`, `$job1`, `$exec1` stand for ids: the first one seen is bound, later ones must be the
same, and two names never stand for one id. `$RUN` is a new text for each run of a case, so that a case can run again on
one engine; `<time>` is any RFC 3339 time, `<text>` any text, `{"$repeat": ["x", n]}` a long text, `{"$nest": [n,
"list"]}` (or `"object"`) a deep value, `{"$any": [...]}` one of several values.
"""

import json
import re
from typing import Any

Names = dict[str, str]
"""What names such as `$job1` stand for."""

_NAME = re.compile(r"\$(?:inst|job|exec)\d+|\$RUN")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def fill(value: Any, names: Names) -> Any:
    """Return a request or an expectation with the names that are bound, and the long and deep values, put in."""
    if isinstance(value, str):
        return _NAME.sub(lambda found: names.get(found[0], found[0]), value)
    if isinstance(value, list):
        return [fill(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        text, times = value["$repeat"]
        return text * times
    if "$nest" in value:
        levels, kind = value["$nest"]
        deep: Any = 1
        for _ in range(levels):
            deep = [deep] if kind == "list" else {"n": deep}
        return deep
    return {fill(key, names): fill(item, names) for key, item in value.items()}


def loosened(value: Any, key: str = "") -> Any:
    """Return an expectation in which the reasons of errors and failures may be any text."""
    if isinstance(value, dict):
        return {name: loosened(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [loosened(item) for item in value]
    return "<text>" if value and key.lower().endswith("reason") else value


def difference(want: Any, got: Any, names: Names, at: str = "") -> str | None:
    """Return the first difference between an expectation and an answer; bind names on the way."""
    if isinstance(want, dict) and "$any" in want:
        return _any_difference(want["$any"], got, names, at)
    if isinstance(want, dict) and want.keys() & {"$repeat", "$nest"}:
        want = fill(want, names)
    if isinstance(want, str) and isinstance(got, str):
        return _text_difference(want, got, names, at)
    if isinstance(want, dict) and isinstance(got, dict):
        return _object_difference(want, got, names, at)
    if isinstance(want, list) and isinstance(got, list):
        return _list_difference(want, got, names, at)
    if _comparable(want, got):
        return None if want == got else f"{at}: wanted {want!r}, got {got!r}"
    return f"{at}: wanted {_short(want)}, got {_short(got)}"


def _text_difference(want: str, got: str, names: Names, at: str) -> str | None:
    if want == "<text>":
        return None
    if want == "<time>":
        return None if _TIME.fullmatch(got) else f"{at}: {_short(got)} is no time"
    if _NAME.fullmatch(want) and got and want not in names and got not in names.values():
        names[want] = got
    want = fill(want, names)
    return None if want == got else f"{at}: wanted {_short(want)}, got {_short(got)}"


def _object_difference(want: dict[str, Any], got: dict[str, Any], names: Names, at: str) -> str | None:
    want = {fill(key, names): item for key, item in want.items()}
    missing, extra = sorted(want.keys() - got.keys()), sorted(got.keys() - want.keys())
    if missing or extra:
        return f"{at}: missing {missing}, unexpected {extra}"
    found = (difference(item, got[key], names, f"{at}.{key}") for key, item in want.items())
    return next((one for one in found if one), None)


def _list_difference(want: list[Any], got: list[Any], names: Names, at: str) -> str | None:
    if len(want) != len(got):
        return f"{at}: wanted {len(want)} entries, got {len(got)}"
    if want and all(isinstance(entry, dict) and "StepID" in entry for entry in want + got):
        want, got = (sorted(entries, key=_place_in_history) for entries in (want, got))
    pairs = zip(want, got, strict=True)
    found = (difference(one, other, names, f"{at}[{index}]") for index, (one, other) in enumerate(pairs))
    return next((one for one in found if one), None)


def _place_in_history(entry: dict[str, Any]) -> tuple[str, int]:
    """Entries of one transaction have no order of their own."""
    return entry["StepID"], entry.get("AttemptNumber") or 0


def _any_difference(choices: list[Any], got: Any, names: Names, at: str) -> str | None:
    for choice in choices:
        trial = dict(names)
        if difference(choice, got, trial, at) is None:
            names.update(trial)
            return None
    return f"{at}: {_short(got)} is none of {_short(choices)}"


def _comparable(want: Any, got: Any) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (want, got))
    return numbers or type(want) is type(got)


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:160]
