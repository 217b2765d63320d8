"""HTTP over persistent connections (aiohttp).

What matters most here is to distinguish a request that was never sent from one whose answer was lost: the former may
always be sent again. So each error is translated on its own, and anything unclear counts as a lost answer.
"""

import re
import ssl
from collections.abc import Mapping

import aiohttp

from rochallor_worker.engine.client import MAX_ANSWER_BYTES
from rochallor_worker.errors import AnswerLost, Unreachable

MAX_REFUSAL_BYTES = 64 * 2**10
"""How much of an answer other than 2xx is read: the engine's are short, a gateway's page may not be."""
_LOGIN = re.compile(r"(://)[^/@\s]*@")


def without_login(text: str) -> str:
    """Return a URL, or a text that contains URLs, without the part before an @: it may contain a password."""
    return _LOGIN.sub(r"\1", text)


class HttpTransport:
    """Sends whole requests and reads whole answers; follows no redirects. Times in seconds.

    `timeout` limits the wait for a free connection and for each part of an answer, and twice `timeout` a whole call;
    `connect` limits one attempt to connect. An unused connection is kept for `idle`. An answer of more than `max_bytes`
    is lost. `proxy` is a proxy for all of it. Belongs to the loop in which it is created.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None,
        *,
        timeout: float,
        connect: float,
        idle: float,
        max_connections: int,
        max_bytes: int = MAX_ANSWER_BYTES,
        proxy: str | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls or True, limit=max_connections, keepalive_timeout=idle, ttl_dns_cache=10
            ),
            # a total too, since an answer may arrive in small pieces, each of them in time
            timeout=aiohttp.ClientTimeout(total=2 * timeout, connect=timeout, sock_connect=connect, sock_read=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy,
            # decompressed, a small answer may fill the memory
            skip_auto_headers=["User-Agent", "Accept-Encoding"],
            auto_decompress=False,
        )

    async def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return the status and the body of an answer. Raises `Unreachable` or `AnswerLost`."""
        try:
            async with self._session.request(
                method, url, data=content, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, await _read(answer, self._max_bytes)
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable("no connection in time") from error
        except aiohttp.ClientConnectorError as error:  # refused, unknown host, untrusted certificate
            raise Unreachable(_text(error)) from error
        except aiohttp.ClientHttpProxyError as error:
            raise Unreachable(f"the proxy of HTTPS_PROXY answered {error.status}") from None
        except (aiohttp.InvalidURL, UnicodeError) as error:  # a host with an empty label, or one of 64 characters
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


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise AnswerLost("the answer is compressed, which was not requested")
    return await (_body(answer.content, max_bytes) if 200 <= answer.status < 300 else _beginning(answer.content))


async def _body(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await content.readany():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {max_bytes:,} bytes")
    return b"".join(parts)


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Return as much of a body as is useful; the connection is closed with the rest unread."""
    body = b""
    while len(body) < MAX_REFUSAL_BYTES and (part := await content.read(MAX_REFUSAL_BYTES - len(body))):
        body += part
    return body


def _text(error: Exception) -> str:
    """Return what happened; only the kind of error where its text may repeat the answer."""
    match error:
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer (a TLS port, called over http?)"
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL() | OSError() | UnicodeError():
            return without_login(" ".join(str(error).split())) or type(error).__name__
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP/1.1 (a gRPC port, called over REST?)"
        case aiohttp.ClientPayloadError() if "larger than" in str(error):
            return str(error)
        case _:
            return f"the answer was cut off ({type(error).__name__})"
