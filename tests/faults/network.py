"""Faults between a worker and its engine: connections, names, certificates, and the worker's wall clock."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from cluster import preloads
from faults.site import Site, nothing, site
from faults.suite import NO_FAULT, Suite
from integration.engine.pki import DAYS, Authority, Pair
from integration.engine.proxy import Proxy, proxied
from integration.engine.tls import TlsEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from faults.result import Jobs
    from faults.suite import Trial
    from integration.worker.conftest import Worker

CUTS = 10
JUMPS = (f"+{DAYS + 10}d", f"-{DAYS + 10}d", "+0")
"""Of the wall clock, from what it should be: past the age at which a journal forgets, and a certificate expires."""


@asynccontextmanager
async def behind_proxies(trial: Trial, host: str = "127.0.0.1") -> AsyncIterator[tuple[Site, list[Proxy]]]:
    """A site whose workers reach the engine through proxies, at a host of this name."""
    async with site(trial) as here, AsyncExitStack() as stack:
        rest, grpc = [
            await stack.enter_async_context(proxied("127.0.0.1", _port(address)))
            for address in (here.engine.url, here.engine.grpc_target)
        ]
        here.settings["rest"]["engine_url"] = f"http://{host}:{_port(rest.address)}"
        here.settings["grpc"]["engine_grpc_target"] = f"{host}:{_port(grpc.address)}"
        yield here, [rest, grpc]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


async def unready(*workers: Worker) -> None:
    """Wait until workers say that they cannot work, though they live."""
    for worker in workers:
        await worker.answers("/readyz", 503)
        await worker.answers("/livez", 200)


async def unhurt(_: None, trial: Trial) -> Jobs:
    """What the work takes by itself."""
    async with behind_proxies(trial) as (here, _proxies):
        return await here.suffer(nothing)


async def connection_reset(_: None, trial: Trial) -> Jobs:
    """All connections are reset, again and again, in the middle of whatever they carry."""
    async with behind_proxies(trial) as (here, proxies):

        async def cut() -> None:
            for number in range(1, CUTS + 1):
                await here.progress(number)
                for proxy in proxies:
                    proxy.cut()

        return await here.suffer(cut)


async def silence(_: None, trial: Trial) -> Jobs:
    """Nothing gets through, in either direction, for longer than a lease; then all of it arrives."""
    async with behind_proxies(trial) as (here, proxies):

        async def hold() -> None:
            for proxy in proxies:
                proxy.flowing.clear()
            await asyncio.sleep(trial.size.lease + trial.size.sweep)
            for proxy in proxies:
                proxy.flowing.set()

        return await here.suffer(hold)


async def dns_gone(_: None, trial: Trial) -> Jobs:
    """The engine's name is not known any more, and connections must be made anew; new workers start meanwhile."""
    known, hosts = "127.0.0.1 engine.test\n", trial.folder / "hosts"
    hosts.write_text(known)
    async with behind_proxies(trial, "engine.test") as (here, proxies):
        here.environment = preloads.names(hosts)

        async def forget() -> None:
            hosts.write_text("")
            cutting = asyncio.create_task(_cut_often(proxies))  # an address is known for some seconds more
            [rest, _] = here.running  # gRPC connects to the last address it knew
            await unready(rest, await here.run("rest"), await here.run("grpc"))
            cutting.cancel()
            hosts.write_text(known)

        return await here.suffer(forget)


async def _cut_often(proxies: list[Proxy]) -> None:
    while True:
        for proxy in proxies:
            proxy.cut()
        await asyncio.sleep(0.5)


async def certificate_expired(_: None, trial: Trial) -> Jobs:
    """The engine's certificate expires, and connections must be made anew; then it is renewed."""
    authority = Authority.make(trial.folder / "pki")
    offset = trial.folder / "offset"
    offset.write_text(f"-{DAYS + 1}d")
    expired = authority.issue("expired", preloads.wall_clock(offset))
    client = authority.issue("client")
    async with site(trial) as here, AsyncExitStack() as shown:
        gateways = [
            TlsEngine(transport, expired, authority.ca.cert, here.engine.state) for transport in ("rest", "grpc")
        ]

        async def show(pair: Pair) -> None:
            await shown.aclose()
            for gateway in gateways:
                gateway.server = pair
                await shown.enter_async_context(gateway.running())

        async def expire() -> None:
            await show(expired)
            await unready(*here.running)
            await show(authority.issue("renewed"))

        await show(authority.issue("good"))
        files = {
            "engine_ca_file": f"{authority.ca.cert}",
            "engine_cert_file": f"{client.cert}",
            "engine_key_file": f"{client.key}",
        }
        here.settings["rest"] |= {"engine_url": f"https://127.0.0.1:{gateways[0].port}", **files}
        here.settings["grpc"] |= {"engine_grpc_target": f"127.0.0.1:{gateways[1].port}", **files}
        return await here.suffer(expire)


async def clock_jump(_: None, trial: Trial) -> Jobs:
    """The worker's wall clock jumps forward and back by more than a month; its jobs go on meanwhile."""
    offset = trial.folder / "offset"
    offset.write_text("+0")
    async with site(trial) as here:
        here.environment = preloads.wall_clock(offset)
        here.keep_journals()

        async def jump() -> None:
            for number, by in enumerate(JUMPS, 1):
                fresh = offset.with_suffix(".new")
                fresh.write_text(by)
                fresh.rename(offset)
                await here.progress(number * trial.size.jobs // 10)

        return await here.suffer(jump)


@contextmanager
def taken_apart() -> Iterator[None]:
    """The libraries that names and clocks are taken apart with."""
    preloads.ensure()
    yield


NETWORK = Suite(
    "Network",
    taken_apart,
    {
        NO_FAULT: unhurt,
        "connections reset": connection_reset,
        "network silent": silence,
        "DNS gone": dns_gone,
        "TLS certificate expired": certificate_expired,
        "clock jump": clock_jump,
    },
    at_once=6,
)
