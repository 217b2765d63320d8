"""A TCP proxy in front of the API server that can be cut, or go silent: connections stay open, and nothing arrives."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

CHUNK: Final = 65536


class Proxy:
    """Forwards a port of 127.0.0.1 to another one; use it in a `with` block."""

    def __init__(self, target: int) -> None:
        self._target: Final = target
        self._connections: list[tuple[asyncio.Event, asyncio.StreamWriter]] = []
        self._refuses = False
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def silence(self) -> None:
        """Hold back everything on the current connections; new ones work."""
        self._all(lambda flowing, _: flowing.clear())

    def cut(self) -> None:
        """Reset the current connections, and new ones until `restore`."""
        self._refuses = True
        self._all(lambda _, client: client.transport.abort())

    def restore(self) -> None:
        """Let new connections through again."""
        self._refuses = False

    def _all(self, change: Callable[[asyncio.Event, asyncio.StreamWriter], None]) -> None:
        done = threading.Event()

        def apply() -> None:
            for flowing, client in self._connections:
                change(flowing, client)
            done.set()

        self._loop.call_soon_threadsafe(apply)
        assert done.wait(60)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for flowing, client in self._connections:
            flowing.set()
            client.transport.abort()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        flowing = asyncio.Event()
        flowing.set()
        self._connections.append((flowing, writer))
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_forward(reader, downstream, flowing))
                group.create_task(_forward(upstream, writer, flowing))
        except* OSError:
            pass
        finally:
            writer.close()
            downstream.close()


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
    while chunk := await source.read(CHUNK):
        await flowing.wait()
        sink.write(chunk)
        await sink.drain()
    sink.close()
