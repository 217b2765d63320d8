"""Requests to the API server: single ones, paged lists and watches. Only this module uses the client library."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from rochallor_operator.errors import KubernetesError, SilenceError, StartError
from rochallor_operator.names import APIS, Manifest
from rochallor_operator.runtime.metrics import API_CALLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_METHODS: Final = {
    "get": "get",
    "list": "get",
    "watch": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
}
_NO_JSON: Final = (aiohttp.ContentTypeError, json.JSONDecodeError, UnicodeDecodeError)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, connect=5)
PAGE_BYTES: Final = 4 << 20
"""The largest page of a list that is read. A larger one is dropped, and fewer objects are requested instead."""
_PAGE: Final = 10
_MAX_PAGE: Final = 500
"""Objects in the first page of a list, and in the largest one."""
GRACE_S: Final = 30.0
"""How long after its timeout the API server may take to end a watch."""
MAX_WAIT_S: Final = 60.0
"""The longest Retry-After that is respected: a proxy could ask for a day."""


async def load_configuration() -> Configuration:
    """How to reach the cluster: $KUBECONFIG, else the pod's service account, else ~/.kube/config.

    Raises StartError when none of them exists, or when it can't be read.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # no limit: each watch keeps a connection
    try:
        if not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST"):
            kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            _check_kubeconfig(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
            await kube_config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (kube_config.ConfigException, OSError) as error:
        raise StartError(
            f"can't find out how to reach a cluster: {error}; set KUBECONFIG or run in a pod with a service account"
        ) from error
    except Exception as error:  # the client raises anything for a file that is no kubeconfig
        raise StartError(f"{kube_config.KUBE_CONFIG_DEFAULT_LOCATION} is not a kubeconfig") from error
    return configuration


def _check_kubeconfig(paths: str) -> None:
    """Refuse a missing file here: the client's own error would complain about its content."""
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep)):
        raise kube_config.ConfigException(f"{paths} does not exist")


def path_of(kind: str, namespace: str, name: str = "") -> str:
    """The URL path of an object, or of all objects of a kind; namespace is "" for all namespaces."""
    group, version, plural = APIS[kind]
    root = f"apis/{group}" if group else "api"
    place = f"{root}/{version}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{version}/{plural}"
    # Names come from specs too: none may lead to another path.
    return f"{place}/{quote(name, safe='')}" if name else place


class Client:
    """Sends requests. Every method raises KubernetesError when the API server refuses or can't be reached; the
    constructor raises StartError when the certificates can't be used.

    After a 429 with Retry-After, every request fails at once, without being sent, until that time is over.
    Leases are the exception: the API server limits them separately, and a leader must renew its own.
    """

    def __init__(self, configuration: Configuration) -> None:
        try:
            self._api = ApiClient(configuration)
        except OSError as error:
            raise StartError(f"the certificates for the cluster can't be used: {error}") from error
        self._client = DynamicClient(self._api)  # type: ignore[no-untyped-call]
        self._not_before = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def request(self, verb: str, kind: str, path: str, **options: Any) -> Manifest:
        """Send one request and return the object in the answer."""
        with self._errors():
            response = await self._send(verb, kind, path, _request_timeout=_TIMEOUT, **options)
            answer: Manifest = await response.json()
        return answer

    async def pages(self, kind: str, path: str, **options: Any) -> AsyncIterator[tuple[list[Manifest], int]]:
        """List objects: yield pages with their size in bytes, at most PAGE_BYTES unless a single object is larger."""
        limit, token = _PAGE, None
        while True:
            body = await self._page(kind, path, limit, token, **options)
            if body is None:
                limit = max(1, limit // 2)
                continue
            with self._errors():
                listing: Manifest = json.loads(body)
            yield listing["items"] or [], len(body)  # null where there is none
            token = listing["metadata"].get("continue")
            if not token:
                return
            if len(body) < PAGE_BYTES / 4:
                limit = min(2 * limit, _MAX_PAGE)

    async def watch(self, kind: str, path: str, seconds: float, **options: Any) -> AsyncIterator[Manifest]:
        """Yield the events of a watch with a timeout in seconds. SilenceError if the API server doesn't end it then."""
        timeout = aiohttp.ClientTimeout(total=seconds + GRACE_S, sock_connect=5)
        options |= {"watch": "true", "timeout_seconds": int(seconds), "_request_timeout": timeout}
        query = [("allowWatchBookmarks", "true")]
        with self._errors():
            try:
                response = await self._send("watch", kind, path, query_params=query, **options)
                try:
                    rest = b""
                    async for chunk in response.content.iter_any():
                        *lines, rest = (rest + chunk).split(b"\n")
                        for line in lines:
                            yield json.loads(line)
                finally:
                    response.close()
            except TimeoutError as error:
                if isinstance(error, aiohttp.ClientError):
                    raise  # there was no connection
                raise SilenceError(None, f"the API server did not end a watch of {kind}s in time") from error

    async def _page(self, kind: str, path: str, limit: int, token: str | None, **options: Any) -> bytes | None:
        """A page as JSON text; None when it is too large and can be split."""
        with self._errors():
            options |= {"limit": limit, "_continue": token, "_request_timeout": _TIMEOUT}
            response = await self._send("list", kind, path, **options)
            try:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > PAGE_BYTES and limit > 1:
                        return None
            finally:
                response.close()
        return bytes(body)

    async def _send(self, verb: str, kind: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        wait = self._not_before - monotonic()
        if wait > 0 and kind != "Lease":
            raise KubernetesError(429, f"the API server asked to wait; {wait:.0f} s are left", wait)
        if verb != "watch":
            API_CALLS.labels(verb=verb, kind=kind).inc()
        response: aiohttp.ClientResponse = await self._client.request(_METHODS[verb], path, serialize=False, **options)
        return response

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate errors of the client library into KubernetesError."""
        try:
            yield
        except ApiException as error:
            wait = _retry_after(error) if error.status == 429 else 0.0
            self._not_before = max(self._not_before, monotonic() + wait)
            raise KubernetesError(error.status, _message(error), wait) from error
        except _NO_JSON as error:  # for example a proxy's own page
            raise KubernetesError(None, "got a non-JSON answer from the API server's address") from error
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            why = str(error) or type(error).__name__
            raise KubernetesError(None, f"the API server can't be reached: {why}") from error


def _retry_after(error: ApiException) -> float:
    """Seconds in Retry-After, at most MAX_WAIT_S; 0 without a valid one."""
    try:
        return min(float((error.headers or {})["Retry-After"]), MAX_WAIT_S)
    except (KeyError, ValueError):
        return 0.0


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return f"the API server answered {error.status} {error.reason}"
