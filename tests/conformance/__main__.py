"""`make conformance ENGINE_URL=… [ENGINE_GRPC=…]`: what an engine is, and whether a worker keeps its promises there.

Uses ids of its own, so the engine may be in use; definitions and ended instances stay behind. A token, headers and TLS
files come from the ROCHALLOR_ENGINE_* variables, as for a worker. Exits with status 1 if the engine cannot be reached
or a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from conformance import promises
from conformance.recorded import replayed
from conformance.site import Broken, Site
from rochallor_worker.cli import logs
from rochallor_worker.cli.process import connect
from rochallor_worker.cli.settings import Settings, load
from rochallor_worker.doctor.engine import check_engine
from rochallor_worker.doctor.findings import Finding, failed, show
from rochallor_worker.errors import EngineError, StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "rochallor-conformance"


async def main(arguments: Sequence[str] | None = None) -> int:
    """Check the engine, replay the cases, test the promises; print a table for each. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("url", help="the engine's REST address")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="its gRPC address, to test the promises there too")
    parser.add_argument("--cases", default="", metavar="TEXT", help="replay only cases whose name contains this")
    wanted = parser.parse_args(arguments)
    logs.configure("CRITICAL", "text")
    try:
        settings = load(engine_url=wanted.url, engine_grpc_target=wanted.grpc, transport="rest")
        async with AsyncExitStack() as opened:
            sites = await _sites(settings, opened)
            if not sites:
                return 1
            recorded = await asyncio.to_thread(lambda: list(replayed(settings, sites[0].facts, wanted.cases)))
            show(recorded, last="note")
            kept = await _tested(sites)
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    show(kept)
    return int(failed(kept))


async def _sites(settings: Settings, opened: AsyncExitStack) -> list[Site]:
    """Check the engine over each transport and print what it is; return no sites if a check failed."""
    run = secrets.token_hex(4)
    rest = await opened.enter_async_context(connect(settings))
    facts, found = await check_engine(rest, settings, probing=True, name=NAME)
    sites = [Site(rest, facts, f"{NAME}-{run}-rest", "REST")]
    if settings.engine_grpc_target and not failed(found):
        over_grpc = settings.model_copy(update={"transport": "grpc"})
        grpc = await opened.enter_async_context(connect(over_grpc))
        facts, also = await check_engine(grpc, over_grpc, probing=True, name=NAME)
        # the other rows are the same as over REST, unless a check failed
        found += [row._replace(check=f"{row.check} (gRPC)") for row in also if _of_grpc(row)]
        sites.append(Site(grpc, facts, f"{NAME}-{run}-grpc", "gRPC"))
    show(found)
    return [] if failed(found) else sites


def _of_grpc(row: Finding) -> bool:
    return row.state == "failed" or row.check in {"engine", "TLS", "variables"}


async def _tested(sites: Sequence[Site]) -> list[Finding]:
    """Test the promises at each site; return a row for each."""
    rows = [await _test(promise, site) for promise in promises.ALONE for site in sites]
    together = [_test(promise, site) for promise in promises.TOGETHER for site in sites]
    return [*rows, *await asyncio.gather(*together)]


async def _test(promise: promises.Promise, site: Site) -> Finding:
    site = replace(site, name=f"{site.name}-{promise.__name__}", runs=[])
    sentence = f"{site.transport}: {promise.__doc__}"
    try:
        return Finding(sentence, "ok", await promise(site))
    except (Broken, EngineError) as error:
        return Finding(sentence, "failed", str(error), "Report it, with this table.")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
