"""What a worker that is not ready says itself: the answer of its /readyz.

The answer is `Word: sentence`. It comes from a pod, that is from anybody: it is short, one line and printable, or it is
nothing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from rochallor_operator.names import METRICS_PORT
from rochallor_operator.reasons import REPORTED, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.names import Manifest

BODY_LIMIT: Final = 1024
TIMEOUT_S: Final = 2.0
_ANSWER: Final = re.compile(r"([A-Za-z]{1,64}): (.+)\n?")


@dataclass(frozen=True)
class Report:
    """A worker's word and sentence; the sentence names the pod."""

    reason: Reason
    message: str


def parse(body: bytes) -> tuple[Reason, str] | None:
    """The word and the sentence of an answer; None when it is not one of those that matter."""
    if len(body) > BODY_LIMIT:
        return None
    found = _ANSWER.fullmatch(body.decode("utf-8", "replace"))
    if found is None or found[1] not in REPORTED or not found[2].isprintable():
        return None
    return Reason(found[1]), found[2]


def to_ask(pods: Iterable[Manifest]) -> Manifest | None:
    """The pod to ask: the newest one that runs, is not ready and is not ending."""
    unready = [pod for pod in pods if _runs(pod) and not _ready(pod)]
    return max(unready, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), default=None)


async def ask(pod: Manifest, port: int = METRICS_PORT) -> Report | None:
    """Ask a pod why it is not ready. None when it can't be reached, or says nothing that matters."""
    address = pod["status"]["podIP"]
    url = f"http://[{address}]:{port}/readyz" if ":" in address else f"http://{address}:{port}/readyz"
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            body = await response.content.read(BODY_LIMIT + 1) if response.status == 503 else b""
    except (aiohttp.ClientError, OSError, ValueError):  # a TimeoutError is an OSError
        return None
    found = parse(body)
    return found and Report(found[0], f"pod {pod['metadata']['name']}: {found[1]}")


def _runs(pod: Manifest) -> bool:
    status = pod.get("status", {})
    ends = "deletionTimestamp" in pod["metadata"]
    return not ends and status.get("phase") == "Running" and bool(status.get("podIP"))


def _ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)
