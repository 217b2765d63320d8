"""A relay to a server that may be hostile: PostgreSQL's library takes an answer of any size into memory."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK: Final = 1 << 16
_LOOKUPS: Final = ThreadPoolExecutor(16, thread_name_prefix="database-name")
"""For name servers that don't answer: they must not take the threads that the rest of the operator needs."""


class Relay:
    """Connections from a local port to a server, which may send `most` bytes in all."""

    def __init__(self, host: str, port: int, most: int) -> None:
        self._host: Final = host
        self._port: Final = port
        self._left = most
        self.answered = False
        """Whether the server has sent anything."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Relay while inside; yields the local port."""
        serving: set[asyncio.Task[None]] = set()

        def accept(near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
            serving.add(asyncio.ensure_future(self._relay(near, to_near)))

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _relay(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        with suppress(OSError, UnicodeError), closing(to_near):  # UnicodeError: no host can have such a name
            far, to_far = await self._connect()
            with closing(to_far):
                asking = asyncio.ensure_future(_ask(near, to_far))
                try:
                    await self._answer(far, to_near)
                finally:
                    asking.cancel()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        lookup = partial(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM)
        for *_, address in await asyncio.get_running_loop().run_in_executor(_LOOKUPS, lookup):
            with suppress(OSError):
                return await asyncio.open_connection(*address[:2])
        raise ConnectionError

    async def _answer(self, far: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        while self._left > 0 and (chunk := await far.read(min(_CHUNK, self._left))):
            self.answered = True
            self._left -= len(chunk)
            to_near.write(chunk)
            await to_near.drain()


async def _ask(near: asyncio.StreamReader, to_far: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await near.read(_CHUNK):
            to_far.write(chunk)
            await to_far.drain()
