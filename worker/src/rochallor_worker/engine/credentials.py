"""The content of a `Connection`'s files, and transports that are recreated when it changes."""

import math
import re
import ssl
import time
from asyncio import Task, create_task
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import TracebackType
from typing import Generic, TypeVar

from rochallor_worker.engine import oauth
from rochallor_worker.engine.client import Connection
from rochallor_worker.engine.files import read, stamp_of
from rochallor_worker.errors import StartError
from rochallor_worker.logger import get_logger

CHECK_SECONDS = 1.0
"""Shortest time between two checks whether files have changed."""
SECRET_CHARS = 8
"""A shorter word of a header is not treated as a secret: `blue` may be in an error by chance."""

T = TypeVar("T")

_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PRINTABLE = re.compile(r"[ -~]*")
_BEARER = "Bearer "

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS files, read and checked together: as a context, and as PEM for libraries that need it."""

    context: ssl.SSLContext
    ca: bytes | None
    cert: bytes | None
    key: bytes | None = field(repr=False)


class Credentials:
    """A connection's headers and TLS files. Raises `StartError`, in one sentence, if they cannot be used at the start.

    `refresh` checks the files again. Files that have become invalid are logged, once per change, and their previous
    content stays in use: a secret that is half written now is complete a moment later.
    """

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._checked_at = clock()
        self._token_stamp = stamp_of(connection.token_file)
        self._tls_stamp = self._stamp_tls()
        self.version = 0
        """Increases with each change of the TLS files."""
        self._fixed = {name.lower(): value for name, value in connection.headers}
        for name, value in connection.headers:
            if not _HEADER_NAME.fullmatch(name) or not _PRINTABLE.fullmatch(value):
                raise StartError(
                    f"the engine header {name!r} (ROCHALLOR_ENGINE_HEADERS) cannot be sent: must be a name of "
                    "letters, digits, '_', '.' and '-', and a value of printable ASCII characters"
                )
        self.headers: Mapping[str, str] = self._read_headers()
        """Sent with each call: the connection's headers, names in lower case, and the bearer token, if it has one."""
        self.tls = self._read_tls()
        self._tokens: oauth.Tokens | None = None
        if (client := connection.oauth) is not None:
            oauth.check(client, connection.ca_file)
            self._tokens = oauth.Tokens(partial(oauth.fetch, client, connection.ca_file), clock, Random())  # noqa: S311 — jitter

    def refresh(self) -> None:
        """Read files that have changed; checks at most once in `CHECK_SECONDS`."""
        now = self._clock()
        if now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        if (stamp := stamp_of(self._connection.token_file)) != self._token_stamp:
            self._token_stamp = stamp
            try:
                self.headers = self._read_headers()
            except StartError as error:
                log.warning("a changed file cannot be used; its previous content stays in use", error=str(error))
        if (stamps := self._stamp_tls()) != self._tls_stamp:
            self._tls_stamp = stamps
            try:
                self.tls = self._read_tls()
            except StartError as error:
                log.warning("a changed file cannot be used; its previous content stays in use", error=str(error))
            else:
                self.version += 1

    async def to_send(self) -> Mapping[str, str]:
        """Return the headers of one call, with an access token where the connection is an OAuth2 client's.

        Raises `Unreachable`, or `TurnedAway`, if there is none.
        """
        if self._tokens is None:
            return self.headers
        return {**self.headers, "authorization": f"{_BEARER}{await self._tokens.current()}"}

    async def replaced(self, sent: Mapping[str, str]) -> bool:
        """Whether there is another access token than the one sent, which was refused. Then the call can be repeated."""
        return self._tokens is not None and await self._tokens.replaced(sent["authorization"].removeprefix(_BEARER))

    async def aclose(self) -> None:
        """Give up a request for a token that is in flight."""
        if self._tokens is not None:
            await self._tokens.aclose()

    @staticmethod
    def redact(text: str, sent: Mapping[str, str]) -> str:
        """Remove from an answer what was sent in headers: a gateway that refuses a token may repeat it."""
        words = {word for value in sent.values() for word in value.split() if len(word) >= SECRET_CHARS}
        for word in sorted(words, key=len, reverse=True):  # one may be part of another
            text = text.replace(word, "[redacted]")
        return text

    def _stamp_tls(self) -> tuple[object, ...]:
        files = self._connection
        return tuple(stamp_of(path) for path in (files.ca_file, files.cert_file, files.key_file))

    def _read_headers(self) -> dict[str, str]:
        token = self._connection.token
        if path := self._connection.token_file:
            token = read("token file (ROCHALLOR_ENGINE_TOKEN_FILE)", path).decode(errors="replace").strip()
            if not token:
                raise StartError(f"the engine's token file (ROCHALLOR_ENGINE_TOKEN_FILE) {path} is empty")
        if not _PRINTABLE.fullmatch(token):
            raise StartError("the engine's token (ROCHALLOR_ENGINE_TOKEN) cannot be sent: must be printable ASCII")
        return {**self._fixed, "authorization": f"{_BEARER}{token}"} if token else self._fixed

    def _read_tls(self) -> Tls | None:
        files = self._connection
        if not files.ca_file and not files.cert_file:
            return None
        ca = read(f"CA file {files.ca_file}", files.ca_file) if files.ca_file else None
        cert = read(f"client certificate file {files.cert_file}", files.cert_file) if files.cert_file else None
        key = read("client key file", files.key_file) if files.key_file else None
        try:
            context = ssl.create_default_context(cafile=files.ca_file or None)
        except (OSError, ValueError) as error:
            raise StartError(f"the engine's CA file {files.ca_file} cannot be used: {_text(error)}") from error
        if files.cert_file:
            pair = f"the engine's client certificate {files.cert_file} with key {files.key_file or files.cert_file}"
            try:
                # an empty password: otherwise OpenSSL asks for one on the terminal
                context.load_cert_chain(files.cert_file, files.key_file or None, password="")
            except (OSError, ValueError) as error:
                raise StartError(f"{pair} cannot be used: {_text(error)}") from error
        return Tls(context, ca, cert, key or cert)


class InUse(Generic[T]):
    """A transport and the number of its calls in flight. Enter it for the duration of a call."""

    def __init__(self, transport: T, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self._calls = 0
        self._retired = False

    def __enter__(self) -> T:
        self._calls += 1
        return self._transport

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls -= 1
        if self._retired and self._calls == 0:
            self._close()

    def is_of(self, transport: T) -> bool:
        """Whether this is the given transport."""
        return self._transport is transport

    def retire(self) -> None:
        """Close the transport once its last call has ended."""
        self._retired = True
        if self._calls == 0:
            self._close()


class Rotating(Generic[T]):
    """A transport that follows its credentials: `current` always uses the newest files.

    It is also recreated when it is `max_age` seconds old, and after `distrust`. A change interrupts no call: the
    previous transport is closed after its last one. It is created at the first use, in the loop that uses it.
    """

    def __init__(
        self,
        credentials: Credentials,
        make: Callable[[], T],
        close: Callable[[T], Awaitable[None]],
        max_age: float = math.inf,
    ) -> None:
        self._credentials = credentials
        self._make = make
        self._close = close
        self._max_age = max_age
        self._made_at = -math.inf
        self._version = -1
        self._current: InUse[T] | None = None
        self._closing: set[Task[None]] = set()

    def current(self) -> InUse[T]:
        """Return the transport to use for one call."""
        self._credentials.refresh()
        too_old = time.monotonic() - self._made_at > self._max_age
        if self._current is None or too_old or self._version != self._credentials.version:
            if self._current is not None:
                self._current.retire()
            self._version, self._made_at = self._credentials.version, time.monotonic()
            transport = self._make()
            self._current = InUse(transport, lambda: self._close_soon(transport))
        return self._current

    def distrust(self, transport: T) -> None:
        """Make a new transport for the next call if this one is still in use: its connection may be dead."""
        if self._current is not None and self._current.is_of(transport):
            self._made_at = -math.inf

    async def aclose(self) -> None:
        """Close the transport, and wait for earlier ones that are still closing."""
        if self._current is not None:
            with self._current as transport:
                await self._close(transport)
        for task in tuple(self._closing):
            await task

    def _close_soon(self, transport: T) -> None:
        task = create_task(self._closed(transport), name="close a transport that was replaced")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _closed(self, transport: T) -> None:
        await self._close(transport)


def _text(error: Exception) -> str:
    """Return what is wrong; OpenSSL has words only for a mismatch and for an empty file."""
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "not PEM, or the key is encrypted"
    return getattr(error, "strerror", None) or str(error)
