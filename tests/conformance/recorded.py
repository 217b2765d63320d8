"""Replays the cases recorded from the real engine: another version may differ, and may be right."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

from contract import replay
from rochallor_worker.cli.connections import engine_connection
from rochallor_worker.doctor.facts import Answer
from rochallor_worker.doctor.findings import Finding
from rochallor_worker.engine.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_worker.cli.settings import Settings
    from rochallor_worker.doctor.facts import Facts

AT_ONCE = 16
"""Most of them wait for leases and timers."""


def replayed(settings: Settings, facts: Facts, only: str) -> Iterator[Finding]:
    """Replay the cases of the engine's generation; yield how many are answered as recorded, and each that is not."""
    generation = "A" if facts.fenced is not Answer.YES else "D" if facts.renewable is Answer.YES else "C"
    cases = replay.load(generation, only)
    credentials, headers = asyncio.run(_credentials(settings))

    def one(case: replay.Case) -> str | None:
        return replay.run(http, case, loose=True, without=replay.left_out(generation, case))

    with (
        httpx.Client(
            base_url=settings.engine_url or "",
            headers=headers,
            verify=credentials.tls.context if credentials.tls else True,
            timeout=60,
        ) as http,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        results = list(pool.map(one, cases))
    found = f"{results.count(None)} of {len(cases)} are answered as recorded (generation {generation})"
    yield Finding("recorded cases", "ok", found)
    for case, result in zip(cases, results, strict=True):
        if result is not None:
            yield Finding(case.name, "warning", result, case.note)


async def _credentials(settings: Settings) -> tuple[Credentials, dict[str, str]]:
    """Return the credentials and the headers to send, with one access token for all cases."""
    credentials = Credentials(engine_connection(settings))
    return credentials, dict(await credentials.to_send())
