"""Texts from elsewhere become one printable line of bounded length, wherever they are shown."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.content.hashes import read
from rochallor_operator.desired.references import Reference
from rochallor_operator.errors import DegradedError
from rochallor_operator.observe import Observation
from rochallor_operator.runtime.logs import JsonFormatter
from rochallor_operator.runtime.text import LIMIT, listed, one_line
from rochallor_operator.status.conditions import status
from rochallor_operator.status.events import transitions
from rochallor_operator.status.reasons import Reason
from unit.operator.samples import resource, worker

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

NOW = "2026-01-01T00:00:00Z"
HOSTILE = "\x1b[2Jdone\n\u202egpj.exe\ud800"
HARMLESS = r"\x1b[2Jdone \u202egpj.exe\ud800"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("2 of 2 pods", "2 of 2 pods"),
        ("größer als 日本", "größer als 日本"),
        (" two\r\n\tlines\x85 \u2028end ", "two lines end"),
        (HOSTILE, HARMLESS),
        ("\x00\x7f\u200b\u2066\ufeff", r"\x00\x7f\u200b\u2066\ufeff"),
        ("x" * LIMIT, "x" * LIMIT),
        ("x" * (LIMIT + 1), "x" * (LIMIT - 1) + "…"),
        ("\x1b" * LIMIT, (r"\x1b" * LIMIT)[: LIMIT - 1] + "…"),
        ("", ""),
    ],
)
def test_a_text_becomes_one_printable_line(text: str, line: str) -> None:
    assert one_line(text) == line
    assert one_line(line) == line


def test_of_many_names_a_few_are_written() -> None:
    names = [f"key-{number:04}" for number in range(3_500)]
    assert listed(names).endswith("key-0008, key-0009 and 3490 more")
    assert (listed([]), listed(["a", "b"])) == ("none", "a, b")


def test_in_conditions_and_events() -> None:
    seen = Observation(worker(), None, None, DegradedError(Reason.FORBIDDEN, HOSTILE))
    after = status(resource(), seen, NOW)["conditions"]
    assert HARMLESS in [item["message"] for item in after]
    written = json.dumps([after, transitions(resource(), after, NOW)], ensure_ascii=False)
    assert HARMLESS.replace("\\", "\\\\") in written
    assert written.isprintable()
    long = replace(seen, blocked=DegradedError(Reason.FORBIDDEN, "x" * 100_000))
    for item in status(resource(), long, NOW)["conditions"]:
        assert item["reason"] == "Forbidden"
        assert len(item["message"]) == LIMIT


def test_in_logs() -> None:
    record = logging.makeLogRecord({"msg": "refused: %s", "args": (HOSTILE,), "error": HOSTILE})
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["error"]) == (f"refused: {HARMLESS}", HARMLESS)


class OneSource:
    """Every Secret and ConfigMap has these keys."""

    def __init__(self, *keys: str) -> None:
        self.live = {"metadata": {"uid": "1"}, "data": dict.fromkeys(keys, "")}

    async def get(self, *_: str) -> Manifest:
        return self.live


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("ConfigMap", "ConfigMap 'x' has no key 'wanted'; it has secret-key"),
        ("Secret", "Secret 'x' has no key 'wanted'"),
    ],
)
async def test_keys_of_a_secret_are_written_nowhere(kind: str, sentence: str) -> None:
    use = Reference(kind, "x", "wanted", optional=False)
    with pytest.raises(DegradedError) as caught:
        await read(cast("Kube", OneSource("secret-key")), "shop", [use])
    assert str(caught.value) == sentence
