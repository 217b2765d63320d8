"""Asks workers themselves: why one is not ready, or what it warns of although it is ready (/readyz), and whether it is
busy (/metrics).

The answer of /readyz is `Reason: sentence`. A pod is not trusted: an answer that is too long, not printable or not
understood counts as none.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Final

import httpx

from rochallor_operator.names import METRICS_PORT
from rochallor_operator.observe import Problem
from rochallor_operator.status.reasons import FROM_WORKERS, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from rochallor_operator.names import Key, Manifest

BODY_LIMIT: Final = 1024
METRICS_LIMIT: Final = 1 << 20
TIMEOUT_S: Final = 2.0
PATIENCE_S: Final = 0.05
"""How long to wait for the first answer about a resource; a pod that answers does so in a fraction of it."""
WORDING_S: Final = 600.0
"""How long a sentence is kept while the reason stays the same: the pods of an unreachable engine word it differently
each time, and each wording would be a write."""
_ANSWER: Final = re.compile(r"([A-Za-z]{1,64}): (.+)\n?")
_UTILIZATION: Final = re.compile(rb"^rochallor_worker_utilization_ratio ([0-9.e+-]{1,32})$", re.MULTILINE)
_NO_ANSWER: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)  # a TimeoutError is an OSError
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no CA: pods are asked without TLS, and loading the system's CAs for each request would dominate its cost."""


class Readiness:
    """Why the pods of each resource aren't ready, in their own words. Pods are asked in the background: one that
    doesn't answer delays nothing."""

    def __init__(self, port: int, clock: Callable[[], float] = monotonic) -> None:
        self._port = port
        self._clock = clock
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._answers: dict[Key, Problem | None] = {}
        self._answered_at: dict[Key, float] = {}

    async def problem(self, key: Key, pods: Iterable[Manifest]) -> Problem | None:
        """The last answer of one of these pods that run and aren't ready; one of them is asked for the next.

        The first time it waits a moment for the answer, so that the first status has it.
        """
        pod = pod_to_ask(pods)
        if pod is None:
            self.forget(key)
            return None
        before = self._asking.get(key)
        if before is None or before.done():
            self._asking[key] = asking = asyncio.create_task(self._ask(key, pod))
            if before is None:
                await asyncio.wait({asking}, timeout=PATIENCE_S)
        return self._answers.get(key)

    def forget(self, key: Key) -> None:
        """Drop the answers about a resource that is deleted, or has no pod to ask."""
        asking = self._asking.pop(key, None)
        if asking is not None:
            asking.cancel()
        self._answers.pop(key, None)
        self._answered_at.pop(key, None)

    async def _ask(self, key: Key, pod: Manifest) -> None:
        answer, before, now = await ask(pod, self._port), self._answers.get(key), self._clock()
        same = answer is not None and before is not None and answer.reason == before.reason
        if not same or now - self._answered_at[key] >= WORDING_S:
            self._answers[key], self._answered_at[key] = answer, now


def parse_answer(body: bytes, reasons: Collection[Reason] = FROM_WORKERS) -> tuple[Reason, str] | None:
    """The reason and the sentence of an answer; None for any other reason or form."""
    found = _ANSWER.fullmatch(body.decode("utf-8", "replace"))
    if found is None or found[1] not in reasons or not found[2].isprintable():
        return None
    return Reason(found[1]), found[2]


def pod_to_ask(pods: Iterable[Manifest]) -> Manifest | None:
    """The newest pod that runs, is not ready and is not terminating."""
    unready = [pod for pod in pods if runs(pod) and not _ready(pod)]
    return max(unready, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), default=None)


async def ask(pod: Manifest, port: int = METRICS_PORT) -> Problem | None:
    """Ask a pod why it is not ready. None when it can't be reached, or gives no known reason."""
    answer = await _get(pod, port, "/readyz", BODY_LIMIT)
    if answer is None or answer[0] != 503:
        return None
    found = parse_answer(answer[1])
    return found and Problem(found[0], f"pod {pod['metadata']['name']}: {found[1]}")


async def warning(pod: Manifest, port: int = METRICS_PORT, *, reason: Reason) -> str | None:
    """Ask a ready pod for the warning of a reason: its sentence, "" when it has none, None without an answer."""
    answer = await _get(pod, port, "/readyz", BODY_LIMIT)
    if answer is None or answer[0] != 200:
        return None
    found = parse_answer(answer[1], {reason})
    return "" if found is None else found[1]


async def is_busy(pod: Manifest, port: int = METRICS_PORT) -> bool | None:
    """Ask a pod whether it ran a job in the last 15 s: it is busy between two jobs too. None without an answer."""
    body = await metrics(pod, port)
    found = body and _UTILIZATION.search(body)
    try:
        return float(found[1]) > 0 if found else None
    except ValueError:
        return None


async def metrics(pod: Manifest, port: int = METRICS_PORT) -> bytes | None:
    """A pod's metrics as text; None without an answer."""
    answer = await _get(pod, port, "/metrics", METRICS_LIMIT)
    return answer[1] if answer is not None and answer[0] == 200 else None


def is_ready(pod: Manifest) -> bool:
    """Whether a pod runs, is ready and is not terminating."""
    return runs(pod) and _ready(pod)


async def _get(pod: Manifest, port: int, path: str, limit: int) -> tuple[int, bytes] | None:
    """Status and body of a pod's answer. None when it comes too late or has more than `limit` bytes."""
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


def runs(pod: Manifest) -> bool:
    """Whether a pod runs and is not terminating."""
    status = pod.get("status", {})
    ends = "deletionTimestamp" in pod["metadata"]
    return not ends and status.get("phase") == "Running" and bool(status.get("podIP"))


def _ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)
