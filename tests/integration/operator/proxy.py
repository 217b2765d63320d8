"""A TCP proxy before the API server that can fall silent: connections stay open, and nothing comes any more."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Self

CHUNK: Final = 65536


class Proxy:
    """Forwards a port of 127.0.0.1 to another one; use it in a `with` block."""

    def __init__(self, target: int) -> None:
        self._target: Final = target
        self._flowing: list[asyncio.Event] = []
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def silence(self) -> None:
        """Hold back everything on the connections that there are; new ones work."""
        self._all(asyncio.Event.clear)

    def resume(self) -> None:
        """Let through what was held back."""
        self._all(asyncio.Event.set)

    def _all(self, change: object) -> None:
        done = threading.Event()

        def apply() -> None:
            for flowing in self._flowing:
                change(flowing)  # type: ignore[operator]
            done.set()

        self._loop.call_soon_threadsafe(apply)
        assert done.wait(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flowing = asyncio.Event()
        flowing.set()
        self._flowing.append(flowing)
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
