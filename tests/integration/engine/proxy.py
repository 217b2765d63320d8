"""What stands between a client and an engine and can fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Treatment = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


@asynccontextmanager
async def listener(treat: Treatment) -> AsyncIterator[str]:
    """Accept connections and treat each; gives the address."""
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        treat(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        _, last = await asyncio.open_connection(host, port)
        while last.get_extra_info("sockname") not in [writer.get_extra_info("peername") for writer in writers]:  # noqa: ASYNC110
            await asyncio.sleep(0)  # those before it are accepted before it
        writers.append(last)
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


class Proxy:
    """Passes bytes on, and can cut or freeze all connections."""

    def __init__(self, host: str, port: int) -> None:
        self.address = ""
        self._to = (host, port)
        self._passing: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.flowing = asyncio.Event()
        """Cleared, it holds back what is sent."""
        self.flowing.set()

    def treat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._passing.add(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self._to)
        self._writers += [writer, forth]
        await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def end(self) -> None:
        self.cut()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy in front of an address; its own is `address`."""
    proxy = Proxy(host, port)
    async with listener(proxy.treat) as proxy.address:
        try:
            yield proxy
        finally:
            await proxy.end()
