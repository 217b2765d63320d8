"""HTTP over connections that are kept (aiohttp).

What matters most here is to tell a request that never left from one whose answer was lost: the first may be sent again
whatever it is, so each error is translated on its own and anything unclear counts as an answer lost.
"""

import ssl
from collections.abc import Mapping

import aiohttp

from rochallor_worker.engine.base import MAX_ANSWER_BYTES
from rochallor_worker.errors import AnswerLost, Unreachable


class HttpTransport:
    """Sends whole requests and reads whole answers; follows no redirects. Times in seconds.

    `timeout` bounds the wait for a free connection and for each part of an answer, twice as much all of a call;
    `connect` bounds one attempt to connect. An unused connection is kept for `idle`. Belongs to the loop that runs when
    it is made.
    """

    def __init__(
        self, tls: ssl.SSLContext | None, *, timeout: float, connect: float, idle: float, max_connections: int
    ) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls or True, limit=max_connections, keepalive_timeout=idle, ttl_dns_cache=10
            ),
            # a total too, since an answer may come in drops, each of them in time
            timeout=aiohttp.ClientTimeout(total=2 * timeout, connect=timeout, sock_connect=connect, sock_read=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=["User-Agent"],
        )

    async def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return the status and the body of an answer. Raises `Unreachable` or `AnswerLost`."""
        try:
            async with self._session.request(
                method, url, data=content, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, await _body(answer.content)
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable("no connection in time") from error
        except aiohttp.ClientConnectorError as error:  # refused, unknown host, a certificate that is not trusted
            raise Unreachable(_text(error)) from error
        except aiohttp.InvalidURL as error:
            raise Unreachable(f"not a URL: {_text(error)}") from error
        except TimeoutError as error:
            raise AnswerLost("no answer in time") from error
        except RuntimeError as error:
            if not self._session.closed:
                raise
            raise Unreachable("the client is closed") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectionResetError):
                raise Unreachable("the connection was closed before the request was written") from error
            raise AnswerLost(_text(error)) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _body(content: aiohttp.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {MAX_ANSWER_BYTES:,} bytes")
    return b"".join(parts)


def _text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
