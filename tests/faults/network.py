"""Faults between a worker and its engine: connections, names, certificates, and the worker's wall clock."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from cluster import preloads
from faults.fleet import EACH, A, D
from faults.site import Site, nothing, site
from faults.suite import NO_FAULT, Suite
from integration.engine.pki import DAYS, Authority, Pair
from integration.engine.proxy import Proxy, proxied
from integration.engine.tls import TlsEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from faults.result import Jobs
    from faults.suite import Trial
    from integration.worker.conftest import Worker

CUTS = 10
JUMPS = (f"+{DAYS + 10}d", f"-{DAYS + 10}d", "+0")
"""Offsets of the wall clock, beyond the age at which a journal forgets jobs and a certificate expires."""


@asynccontextmanager
async def behind_proxies(trial: Trial, host: str = "127.0.0.1") -> AsyncIterator[tuple[Site, list[Proxy]]]:
    """Set up a site whose workers reach the engine through proxies, by this host name."""
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
    """Wait until workers report that they are live but not ready."""
    for worker in workers:
        await worker.answers("/readyz", 503)
        await worker.answers("/livez", 200)


async def no_fault(_: None, trial: Trial) -> Jobs:
    """No fault, for comparison."""
    async with behind_proxies(trial) as (here, _proxies):
        return await here.inject(nothing)


async def connection_reset(_: None, trial: Trial) -> Jobs:
    """All connections are reset again and again, in the middle of calls."""
    async with behind_proxies(trial) as (here, proxies):

        async def cut() -> None:
            for number in range(1, CUTS + 1):
                await here.progress(number)
                for proxy in proxies:
                    proxy.cut()

        return await here.inject(cut)


async def silence(_: None, trial: Trial) -> Jobs:
    """Nothing gets through, in either direction, for longer than a lease; then all of it arrives."""
    async with behind_proxies(trial) as (here, proxies):

        async def hold() -> None:
            for proxy in proxies:
                proxy.flowing.clear()
            await asyncio.sleep(trial.size.lease + trial.size.sweep)
            for proxy in proxies:
                proxy.flowing.set()

        return await here.inject(hold)


async def dns_failure(_: None, trial: Trial) -> Jobs:
    """The engine's name can no longer be resolved, and connections are cut; new workers start meanwhile."""
    known, hosts = "127.0.0.1 engine.test\n", trial.folder / "hosts"
    _write(hosts, known)
    async with behind_proxies(trial, "engine.test") as (here, proxies):
        here.environment = preloads.names(hosts)

        async def forget() -> None:
            first, began = [*here.running], time.monotonic()
            _write(hosts, "")
            cutting = asyncio.create_task(_cut_often(proxies))  # addresses are cached for some seconds
            [rest, _] = first  # gRPC connects to the last known address
            await unready(rest, await here.run("rest"), await here.run("grpc"))
            cutting.cancel()
            _write(hosts, known)
            if time.monotonic() - began > trial.size.lease / 2:  # on a busy machine: leases may have ended meanwhile
                here.mark_victims(*first)

        return await here.inject(forget)


def _write(file: Path, text: str) -> None:
    """Replace a file at once: what nss_wrapper reads from a half-written one, it may keep permanently."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)


async def _cut_often(proxies: list[Proxy]) -> None:
    while True:
        for proxy in proxies:
            proxy.cut()
        await asyncio.sleep(0.5)


async def certificate_expired(_: None, trial: Trial) -> Jobs:
    """The engine's certificate expires, and connections are cut; then it is renewed."""
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
        return await here.inject(expire)


async def clock_jump(_: None, trial: Trial) -> Jobs:
    """The worker's wall clock jumps forward and back by more than a month while it runs jobs."""
    offset = trial.folder / "offset"
    offset.write_text("+0")
    async with site(trial) as here:
        here.environment = preloads.wall_clock(offset)
        here.keep_journals()

        async def jump() -> None:
            for number, by in enumerate(JUMPS, 1):
                _write(offset, by)
                await here.progress(number * trial.size.jobs // 10)

        return await here.inject(jump)


@contextmanager
def with_preloads() -> Iterator[None]:
    """Build the libraries that fake names and clocks."""
    preloads.ensure()
    yield


NETWORK = Suite(
    "Network",
    with_preloads,
    {
        NO_FAULT: no_fault,
        "connections reset": connection_reset,
        "network silent": silence,
        "DNS failure": dns_failure,
        "TLS certificate expired": certificate_expired,
        "clock jump": clock_jump,
    },
    fleets=EACH,
    crucial={"network silent": (A, D)},
    at_once=6,
)
