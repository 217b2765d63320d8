"""What workers say of themselves: why one is not ready (/readyz), and whether one is busy (/metrics).

The answer of /readyz is `Word: sentence`. Answers come from a pod, that is from anybody: what is long, not printable or
not understood is nothing.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from rochallor_operator.names import METRICS_PORT
from rochallor_operator.reasons import REPORTED, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.names import Key, Manifest

BODY_LIMIT: Final = 1024
METRICS_LIMIT: Final = 1 << 20
TIMEOUT_S: Final = 2.0
PATIENCE_S: Final = 0.05
"""How long the first question about a resource is waited for; whoever answers does so in a fraction of it."""
_ANSWER: Final = re.compile(r"([A-Za-z]{1,64}): (.+)\n?")
_UTILIZATION: Final = re.compile(rb"^rochallor_worker_utilization_ratio ([0-9.e+-]{1,32})$", re.MULTILINE)
_NO_ANSWER: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)  # a TimeoutError is an OSError
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: pods are asked without TLS, and reading the machine's authorities each time would cost the most."""


@dataclass(frozen=True)
class Report:
    """A worker's word and sentence; the sentence names the pod."""

    reason: Reason
    message: str


class Reports:
    """What the workers of each resource last said. Pods are asked aside: those that don't answer hold up nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._said: dict[Key, Report | None] = {}

    async def of(self, key: Key, pods: Iterable[Manifest]) -> Report | None:
        """The last report of one of these pods that run and aren't ready; one of them is asked for the next.

        The first time the answer is waited for, for a moment, so that it is the first thing that is told.
        """
        pod = to_ask(pods)
        if pod is None:
            self.forget(key)
            return None
        before = self._asking.get(key)
        if before is None or before.done():
            self._asking[key] = asking = asyncio.create_task(self._ask(key, pod))
            if before is None:
                await asyncio.wait({asking}, timeout=PATIENCE_S)
        return self._said.get(key)

    def forget(self, key: Key) -> None:
        """Drop what was said of a resource that is gone, or has no pod to ask."""
        asking = self._asking.pop(key, None)
        if asking is not None:
            asking.cancel()
        self._said.pop(key, None)

    async def _ask(self, key: Key, pod: Manifest) -> None:
        self._said[key] = await ask(pod, self._port)


def parse(body: bytes) -> tuple[Reason, str] | None:
    """The word and the sentence of an answer; None when it is not one of those that matter."""
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
    answer = await _get(pod, port, "/readyz", BODY_LIMIT)
    if answer is None or answer[0] != 503:
        return None
    found = parse(answer[1])
    return found and Report(found[0], f"pod {pod['metadata']['name']}: {found[1]}")


async def is_busy(pod: Manifest, port: int = METRICS_PORT) -> bool | None:
    """Ask a pod whether it ran a job in the last 15 s: between two jobs it is busy too. None when it doesn't tell."""
    answer = await _get(pod, port, "/metrics", METRICS_LIMIT)
    found = answer and _UTILIZATION.search(answer[1])
    try:
        return float(found[1]) > 0 if found else None
    except ValueError:
        return None


def is_ready(pod: Manifest) -> bool:
    """Whether a pod runs, is ready and is not ending."""
    return _runs(pod) and _ready(pod)


async def _get(pod: Manifest, port: int, path: str, limit: int) -> tuple[int, bytes] | None:
    """The status and the body of a pod's answer. None when there is none in time, or one of more than `limit` bytes."""
    address = pod["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    url, identity, body = f"http://{host}:{port}{path}", {"Accept-Encoding": "identity"}, b""
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(verify=_NO_TLS, trust_env=False, timeout=TIMEOUT_S) as client,
            client.stream("GET", url, headers=identity) as response,
        ):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > limit:
                    return None
    except _NO_ANSWER:
        return None
    return response.status_code, body


def _runs(pod: Manifest) -> bool:
    status = pod.get("status", {})
    ends = "deletionTimestamp" in pod["metadata"]
    return not ends and status.get("phase") == "Running" and bool(status.get("podIP"))


def _ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)
