"""Access tokens of an OAuth2 client (RFC 6749, section 4.4, "Client Credentials Grant"). Times in seconds."""

import asyncio
import base64
import math
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

import msgspec

from rochallor_worker.backoff import Jitter
from rochallor_worker.engine import files
from rochallor_worker.engine.client import UNREADABLE, OAuth
from rochallor_worker.engine.proxies import proxy_of
from rochallor_worker.engine.rest.transport import HttpTransport, without_login
from rochallor_worker.errors import AnswerLost, StartError, TurnedAway, Unreachable
from rochallor_worker.logger import get_logger

WAIT_SECONDS = 5.0
"""Longest wait for a connection to the token server, and for each part of its answer; twice that for all of it."""
MAX_BYTES = 64 * 2**10
"""Largest answer that is read, several times what headers can hold."""
LIFETIME = 300.0
"""How long a token is taken to last when its server does not say."""
RENEW_FROM, RENEW_TO = 0.7, 0.85
"""The part of its lifetime after which a token is renewed, at random: pods that started together ask in turn."""
RETRY_BASE = 0.5
RETRY_CAP = 10.0
"""Most seconds between two requests while the token server gives no token."""
SETTLED_AFTER = 5.0
"""A token is not renewed because it was refused sooner than this: the next one would be refused, too."""
WARN_SECONDS = 60.0
"""Between two warnings that no token comes."""

ERRORS = {
    "access_denied",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "unauthorized_client",
    "unsupported_grant_type",
}
"""Error codes that are repeated; the rest of a refusal may contain what was sent (RFC 6749, 5.2, and RFC 8707)."""

log = get_logger(__name__)


class Grant(NamedTuple):
    """An access token, and how long it lasts."""

    token: str
    lifetime: float


class _Answer(msgspec.Struct):
    access_token: str = ""
    token_type: str = ""
    expires_in: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


class Tokens:
    """The access token to send. `fetch` gets one from the token server, or raises `Unreachable`.

    The first call after most of a token's lifetime renews it in the background: a call waits only where there is no
    token that still lasts. There is one request at a time, and pauses that grow follow one that failed. `clock` must
    not jump: it says when a token ends.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Grant]], clock: Callable[[], float], random: Random) -> None:
        self._fetch = fetch
        self._clock = clock
        self._random = random
        self._pauses = Jitter(RETRY_BASE, RETRY_CAP, random)
        self._token = ""
        self._asked_at = self._renew_at = self._ends_at = -math.inf
        self._retry_at = self._warned_at = -math.inf
        self._error = Unreachable("no access token: the client is closed")
        self._renewal: asyncio.Task[None] | None = None

    async def current(self) -> str:
        """Return the token to send. Raises `Unreachable`, or `TurnedAway` where the token server refuses."""
        if self._clock() >= self._renew_at:
            self._start_renewal()
        if self._clock() >= self._ends_at:
            await self._renewed()
            if self._clock() >= self._ends_at:
                raise type(self._error)(str(self._error))
        return self._token

    async def replaced(self, token: str) -> bool:
        """Whether there is another token than this one, which a gateway refused; tries to get one."""
        if token == self._token and self._clock() - self._asked_at >= SETTLED_AFTER:
            self._start_renewal()
            await self._renewed()
        return token != self._token

    async def aclose(self) -> None:
        """Give up a request in flight."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def _start_renewal(self) -> None:
        if self._renewal is None and self._clock() >= self._retry_at:
            self._renewal = asyncio.create_task(self._renew(), name="fetch an access token")

    async def _renewed(self) -> None:
        """Wait for the request in flight, if there is one; a caller that is cancelled does not end it."""
        if (renewal := self._renewal) is not None:
            await asyncio.wait([renewal])
            if not renewal.cancelled():
                renewal.result()

    async def _renew(self) -> None:
        asked_at = self._clock()
        try:
            token, lifetime = await self._fetch()
            if self._clock() >= asked_at + lifetime:
                raise Unreachable("no access token: the token server's last one had ended before it came")
        except Unreachable as error:
            self._error, now = error, self._clock()
            self._retry_at = now + self._pauses.next()
            if now - self._warned_at >= WARN_SECONDS:
                self._warned_at = now
                left = self._ends_at - now if self._ends_at > now else 0.0
                log.warning("the token server gives no new access token", error=str(error), old_lasts_s=round(left))
        else:
            self._token, self._asked_at, self._ends_at = token, asked_at, asked_at + lifetime
            self._renew_at = asked_at + lifetime * self._random.uniform(RENEW_FROM, RENEW_TO)
            self._pauses.reset()
        finally:
            self._renewal = None


def check(oauth: OAuth, ca_file: str) -> None:
    """Raise `StartError`, in one sentence, if the files of an OAuth2 client, or its proxy, cannot be used."""
    _login(oauth)
    _context(ca_file)
    proxy_of(oauth.token_url)


async def fetch(oauth: OAuth, ca_file: str) -> Grant:
    """Get a token; the files are read each time. Raises `Unreachable`, or `TurnedAway` where another try is no use.

    The server must have a certificate of the system's CAs or of those in `ca_file`. Its text is never repeated.
    """
    server = f"no access token: the token server {without_login(oauth.token_url)}"
    try:
        headers = {"authorization": _login(oauth), "accept": "application/json"}
        context, proxy = _context(ca_file), proxy_of(oauth.token_url)
    except StartError as error:
        raise TurnedAway(f"no access token: {error}") from None
    wanted = {"grant_type": "client_credentials", "scope": oauth.scope, "audience": oauth.audience}
    form = urlencode({name: value for name, value in wanted.items() if value}).encode()
    headers["content-type"] = "application/x-www-form-urlencoded"
    transport = HttpTransport(
        context, timeout=WAIT_SECONDS, connect=WAIT_SECONDS, idle=0, max_connections=1, max_bytes=MAX_BYTES, proxy=proxy
    )
    try:
        status, answer = await transport.send("POST", oauth.token_url, form, headers)
    except Unreachable as error:
        raise Unreachable(f"{server} cannot be reached: {error}") from None
    except AnswerLost as error:
        raise Unreachable(f"{server} does not answer: {error}") from None
    finally:
        await transport.aclose()
    return _granted(server, status, answer)


def _granted(server: str, status: int, answer: bytes) -> Grant:
    try:
        found = msgspec.json.decode(answer, type=_Answer)
    except UNREADABLE:
        found = _Answer()
    if not 200 <= status < 300:
        code = f" {found.error}" if found.error in ERRORS else ""
        raise (Unreachable if status >= 500 else TurnedAway)(f"{server} answered {status}{code}")
    if not found.access_token.isascii() or not found.access_token.isprintable() or not found.access_token:
        raise TurnedAway(f"{server} answered {status} without a token that can be sent")
    if found.token_type.lower() not in {"", "bearer"}:
        raise TurnedAway(f"{server} gave a token of another type than Bearer")
    return Grant(found.access_token, _lifetime(found.expires_in))


def _lifetime(expires_in: msgspec.Raw) -> float:
    """Return a lifetime of at least a second; some servers send it as text, some none, and no other costs the token."""
    with suppress(ValueError):
        if math.isfinite(seconds := float(bytes(expires_in).strip(b'"'))):
            return max(1.0, seconds)
    return LIFETIME


def _login(oauth: OAuth) -> str:
    """Return the client's name and secret as a header (RFC 6749, 2.3.1: form-encoded, then Basic)."""
    pair = (
        _secret("client id", "ROCHALLOR_ENGINE_OAUTH_CLIENT_ID_FILE", oauth.client_id_file),
        _secret("client secret", "ROCHALLOR_ENGINE_OAUTH_CLIENT_SECRET_FILE", oauth.client_secret_file),
    )
    return f"Basic {base64.b64encode(':'.join(map(quote_plus, pair)).encode()).decode()}"


def _secret(what: str, setting: str, path: str) -> bytes:
    found = files.read(f"OAuth {what} file ({setting})", path).strip()
    if not found:
        raise StartError(f"the engine's OAuth {what} file ({setting}) is empty")
    return found


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise StartError(f"the engine's CA file {ca_file} cannot be used: {error.strerror or 'not PEM'}") from None
    return context
