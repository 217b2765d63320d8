"""The engine over REST (engine.md: HTTP/1.1, JSON bodies, one error format with several spellings)."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from rochallor_worker.engine.answers import readable
from rochallor_worker.engine.client import (
    UNREADABLE,
    ClaimedJob,
    Connection,
    DefinitionVersion,
    Instance,
    InstanceStatus,
    Page,
    StepExecution,
)
from rochallor_worker.engine.credentials import Credentials, Rotating
from rochallor_worker.engine.proxies import proxy_of
from rochallor_worker.engine.rest.answers import Items, Jobs, Renewal, claimed_job
from rochallor_worker.engine.rest.refusals import refusal
from rochallor_worker.engine.rest.transport import HttpTransport, without_login
from rochallor_worker.errors import (
    AnswerLost,
    EngineError,
    NotFound,
    NotSupported,
    Rejected,
    Unreachable,
    Unreadable,
)
from rochallor_worker.traces import traceparent

CONNECT_SECONDS = 5.0
"""Longest time for one attempt to connect."""
IDLE_SECONDS = 15.0
"""An idle connection is closed after this time, before anything in between does so (load balancers: 60 s and less): a
Fail sent on a connection that was just closed may or may not have arrived, and is never sent again."""

# the standard encoder: it alone refuses what is not JSON (NaN, sets) instead of changing it
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode

T = TypeVar("T")


class RestClient:
    """`EngineClient` over REST. Use it as an async context manager, or call `aclose()`.

    `timeout` limits the wait for one answer, in seconds; a whole call takes at most twice as long, on top of the wait
    for an access token. A connection whose answer was lost is closed, so that a late answer can never be taken for that
    of the next request. A `https://` URL is called through the proxy that the environment names (engine/proxies.py).
    Raises `StartError` if the connection's files or that proxy cannot be used.
    """

    def __init__(
        self, url: str, connection: Connection | None = None, *, timeout: float = 10.0, max_connections: int = 64
    ) -> None:
        self._url = without_login(url)
        self._base = url.rstrip("/")
        self._proxy = proxy_of(url)
        self._timeout = timeout
        self._max_connections = max_connections
        self._credentials = Credentials(connection or Connection())
        self._transports = Rotating(self._credentials, self._connect, HttpTransport.aclose)

    async def upload_definition(self, definition: Mapping[str, Any]) -> DefinitionVersion:
        return await self._get(DefinitionVersion, "POST", "/v1/definitions", definition)

    async def get_definition(self, definition_id: str, version: int | None = None) -> dict[str, Any]:
        suffix = "" if version is None else f"/versions/{version}"
        return await self._get(dict[str, Any], "GET", f"/v1/definitions/{_segment(definition_id)}{suffix}")

    async def list_definitions(
        self, *, keyword: str = "", page: int = 0, page_size: int = 20
    ) -> Page[DefinitionVersion]:
        query = _query(keyword=keyword, page=page, pageSize=page_size)
        return (await self._get(Items[DefinitionVersion], "GET", f"/v1/definitions{query}")).page

    async def start_instance(
        self,
        definition_id: str,
        variables: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        business_key: str = "",
    ) -> Instance:
        body: dict[str, Any] = {"definitionId": definition_id, "variables": dict(variables or {})}
        if version is not None:
            body["definitionVersion"] = version
        if business_key:
            body["businessKey"] = business_key
        return await self._get(Instance, "POST", "/v1/instances", body)

    async def get_instance(self, instance_id: str) -> Instance:
        return await self._get(Instance, "GET", f"/v1/instances/{_segment(instance_id)}")

    async def list_instances(
        self,
        *,
        definition_id: str = "",
        status: InstanceStatus | None = None,
        business_key: str = "",
        page: int = 0,
        page_size: int = 20,
    ) -> Page[Instance]:
        query = _query(
            definitionId=definition_id, status=status or "", businessKey=business_key, page=page, pageSize=page_size
        )
        return (await self._get(Items[Instance], "GET", f"/v1/instances{query}")).page

    async def get_instance_history(self, instance_id: str) -> list[StepExecution]:
        found = await self._get(Items[StepExecution], "GET", f"/v1/instances/{_segment(instance_id)}/history")
        return found.page.items

    async def cancel_instance(self, instance_id: str, *, reason: str = "") -> Instance:
        return await self._get(Instance, "POST", f"/v1/instances/{_segment(instance_id)}/cancel", {"reason": reason})

    async def retry_step(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> Instance:
        path = f"/v1/instances/{_segment(instance_id)}/steps/{_segment(step_id)}/retry"
        return await self._get(Instance, "POST", path, {"variables": dict(variables or {})}, unknown=NotFound)

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> list[ClaimedJob]:
        body: dict[str, Any] = {"workerId": worker_id, "jobTypes": list(job_types), "maxJobs": max_jobs}
        if lease is not None:
            body["leaseSeconds"] = int(lease)
        return readable((await self._get(Jobs, "POST", "/v1/jobs/poll", body)).jobs or [], claimed_job)

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        await self._command(
            f"/v1/jobs/{_segment(job_id)}/complete", {"workerId": worker_id, "variables": dict(variables)}
        )

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        await self._command(
            f"/v1/jobs/{_segment(job_id)}/fail",
            {"workerId": worker_id, "errorMessage": message, "retryable": retryable},
        )

    async def extend_lease(self, job_id: str, worker_id: str, lease: float) -> datetime:
        path = f"/v1/jobs/{_segment(job_id)}/heartbeat"
        body = {"workerId": worker_id, "leaseSeconds": int(lease)}
        renewal = await self._get(Renewal, "POST", path, body, unknown=NotSupported)
        if not renewal.accepted:
            raise Unreadable(f"POST {path}: the answer neither renews nor refuses the lease")
        return renewal.lock_expires_at

    async def complete_user_task(
        self, instance_id: str, step_id: str, *, completed_by: str = "", variables: Mapping[str, Any] | None = None
    ) -> None:
        await self._command(
            f"/v1/instances/{_segment(instance_id)}/user-tasks/{_segment(step_id)}/complete",
            {"completedBy": completed_by, "variables": dict(variables or {})},
        )

    async def signal_wait(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        await self._command(f"/v1/instances/{_segment(instance_id)}/signals/{_segment(step_id)}", dict(variables or {}))

    async def aclose(self) -> None:
        await self._credentials.aclose()
        await self._transports.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _get(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        unknown: type[EngineError] | None = None,
    ) -> T:
        content = await self._send(method, path, body, unknown)
        try:
            return msgspec.json.decode(content, type=kind)
        except UNREADABLE as error:
            raise Unreadable(f"{method} {path}: the answer cannot be read: {error}") from error

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, unknown: type[EngineError] | None = None
    ) -> bytes:
        """Send one request and return the body of a 2xx answer; everything else becomes an `EngineError`.

        `unknown` is passed to `refusal`.
        """
        call = f"{method} {path}"
        content = None if body is None else encode(call, body)
        status, answer, sent = await self._answer(call, method, path, content)
        if status == 401 and await self._credentials.replaced(sent):  # the engine has not seen it
            status, answer, sent = await self._answer(call, method, path, content)
        if not 200 <= status < 300:
            raise refusal(call, self._url, status, answer, lambda text: self._credentials.redact(text, sent), unknown)
        return answer

    async def _answer(
        self, call: str, method: str, path: str, content: bytes | None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Send one request; return the answer's status and body, and the headers that may repeat a secret."""
        with self._transports.current() as transport:  # checks the credentials' files first
            try:
                sent = await self._credentials.to_send()
            except Unreachable as error:
                raise type(error)(f"{call}: {error}") from None
            headers = {"content-type": "application/json", **sent}
            if parent := traceparent():
                headers["traceparent"] = parent
            try:
                status, answer = await transport.send(method, self._base + path, content, headers)
            except Unreachable as error:
                # without the library's error, whose traceback may repeat an answer
                raise Unreachable(f"{call}: cannot connect to {self._url}: {error}") from None
            except AnswerLost as error:
                raise AnswerLost(f"{call} at {self._url}: {error}") from None
        return status, answer, sent

    async def _command(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a request whose answer is empty; anything else is a proxy's page, and no confirmation by the engine."""
        if await self._send("POST", path, body):
            raise AnswerLost(f"POST {path}: the answer is not the engine's")

    def _connect(self) -> HttpTransport:
        tls = self._credentials.tls
        return HttpTransport(
            tls.context if tls else None,
            timeout=self._timeout,
            connect=CONNECT_SECONDS,
            idle=IDLE_SECONDS,
            max_connections=self._max_connections,
            proxy=self._proxy,
        )


def encode(call: str, body: Mapping[str, Any]) -> bytes:
    """Return a request as JSON. Raises `Rejected` if it cannot be JSON."""
    try:
        return _encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected(f"{call}: the request is not JSON: {error}") from error


def _segment(text: str) -> str:
    """Return a text as one segment of a path. Raises `Rejected` if it would change the path."""
    if text in {"", ".", ".."}:
        raise Rejected(f"{text!r} is not an id")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise Rejected(f"{text!r} cannot be sent: {error}") from error


def _query(**values: str | int) -> str:
    """Return the query string of a URL, or nothing."""
    try:
        return f"?{urlencode({name: value for name, value in values.items() if value != ''})}"
    except UnicodeEncodeError as error:
        raise Rejected(f"{values} cannot be sent: {error}") from error
