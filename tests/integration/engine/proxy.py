"""Proxies between a client and an engine that can fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Treatment = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


@asynccontextmanager
async def listener(treat: Treatment) -> AsyncIterator[str]:
    """Accept connections and treat each; yields the address."""
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
            await asyncio.sleep(0)  # earlier ones are accepted before it
        writers.append(last)
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


class Proxy:
    """Forwards bytes, and can cut or freeze all connections."""

    def __init__(self, host: str, port: int) -> None:
        self.address = ""
        self._to = (host, port)
        self._passing: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._forgotten: set[asyncio.StreamWriter] = set()
        self.flowing = asyncio.Event()
        """While cleared, nothing is forwarded."""
        self.flowing.set()

    def treat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._passing.add(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            back, forth = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(forth)
        if writer.is_closing():  # cut in the meantime
            forth.transport.abort()
        await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.flowing.wait()
                if writer not in self._forgotten:
                    writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    def forget(self) -> None:
        """Swallow everything sent on the existing connections; new ones work."""
        self._forgotten.update(self._writers)

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
