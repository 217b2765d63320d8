"""httpx over aiohttp's connections.

httpx's own pool looks at every idle connection for every request, which at 64 connections costs ten times the request
itself. What matters most here is to tell a request that never left from one whose answer was lost: the first may be
sent again whatever it is, so each error is translated on its own and anything unclear counts as an answer lost.
"""

import ssl

import aiohttp
import httpx

from rochallor_worker.engine.base import MAX_ANSWER_BYTES


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries httpx requests: whole bodies, no redirects. An unused connection is kept for `idle` seconds."""

    def __init__(self, tls: ssl.SSLContext | bool, *, max_connections: int, idle: float) -> None:
        self._tls = tls
        self._max_connections = max_connections
        self._idle = idle
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        limits = request.extensions["timeout"]
        timeout = aiohttp.ClientTimeout(
            total=limits["pool"] + limits["read"],  # an answer may come in drops, each of them in time
            connect=limits["pool"],
            sock_connect=limits["connect"],
            sock_read=limits["read"],
        )
        try:
            async with self._connections().request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=request.content or None,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                body = await _body(answer.content)
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except aiohttp.ClientConnectorError as error:  # refused, unknown host, a certificate that is not trusted
            raise httpx.ConnectError(str(error)) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time") from error
        except aiohttp.InvalidURL as error:
            raise httpx.UnsupportedProtocol(f"not a URL: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectionResetError):
                raise httpx.ConnectError("the connection was closed before the request was written") from error
            raise httpx.ReadError(str(error) or type(error).__name__) from error
        # aiohttp has undone the content's encoding, so its headers no longer describe the body
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() not in _BODY_HEADERS]
        return httpx.Response(answer.status, headers=headers, content=body, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:  # made here, since it belongs to the loop that runs
            connector = aiohttp.TCPConnector(
                ssl=self._tls, limit=self._max_connections, keepalive_timeout=self._idle, ttl_dns_cache=10
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=["User-Agent"]
            )
        return self._session


async def _body(content: aiohttp.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {MAX_ANSWER_BYTES:,} bytes")
    return b"".join(parts)


_BODY_HEADERS = {b"content-encoding", b"content-length", b"transfer-encoding"}
