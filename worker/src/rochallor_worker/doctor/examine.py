"""Everything that `rochallor-worker doctor` checks, in the order of its table."""

import asyncio
import os
import tempfile
from pathlib import Path

from rochallor_worker.cli import settings as reading
from rochallor_worker.cli.connections import kafka_connection
from rochallor_worker.cli.process import connect
from rochallor_worker.cli.settings import Settings
from rochallor_worker.doctor.engine import check_engine
from rochallor_worker.doctor.findings import Finding
from rochallor_worker.errors import StartError
from rochallor_worker.extras import needs
from rochallor_worker.handlers.loading import load_registry
from rochallor_worker.registry import checked_job_types

_NAMED = 5
"""Most job types that are named."""


def examine(reference: str = "", *, probing: bool = False) -> list[Finding]:
    """Check what the settings name. `reference` wins over ROCHALLOR_HANDLERS; `probing` may run an instance."""
    try:
        settings = reading.load(**({"handlers": reference} if reference else {}))
    except StartError as error:
        return [Finding("settings", "failed", str(error), "Correct it; nothing else was checked.")]
    unknown = [
        Finding("settings", "warning", f"{name} is not a setting and is ignored", "Check its spelling.")
        for name in reading.unknown_variables(os.environ)
    ]
    job_types, loaded = check_handlers(settings)  # before there is a loop, as in a worker
    reached = asyncio.run(_reach(settings, job_types, probing=probing))
    return [*unknown, *reached, loaded, check_journal(settings)]


def check_handlers(settings: Settings) -> tuple[list[str], Finding]:
    """Import the handlers, as a worker does; also return the job types it would take, as far as they are known."""
    try:
        registry = load_registry(settings.handlers)
        settings.limit(registry)
        job_types = checked_job_types(registry, settings.job_types)
    except StartError as error:
        return list(settings.job_types), Finding("handlers", "failed", str(error), "Correct it; see also `check`.")
    named = ", ".join(job_types[:_NAMED]) + (", …" if len(job_types) > _NAMED else "")
    return job_types, Finding("handlers", "ok", f"{len(job_types)} job type{'s' * (len(job_types) > 1)}: {named}")


def check_journal(settings: Settings) -> Finding:
    """Check that the journal's folder can be written. A worker creates a missing one in its nearest parent."""
    if not settings.journal_dir:
        advice = "Set ROCHALLOR_JOURNAL_DIR to a folder that outlives the process."
        return Finding(
            "journal", "note", "off: after a crash, jobs run again even if their outcome was decided", advice
        )
    folder = Path(settings.journal_dir).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"doctor")
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror}"
        return Finding("journal", "failed", found, "Give the worker's user a folder of its own that it can write to.")
    return Finding("journal", "ok", f"{folder} can be written" if there == folder else f"{folder} can be created")


async def _reach(settings: Settings, job_types: list[str], *, probing: bool) -> list[Finding]:
    return [*await _engine(settings, probing=probing), *await _kafka(settings, job_types)]


async def _engine(settings: Settings, *, probing: bool) -> list[Finding]:
    try:
        client = connect(settings)
    except StartError as error:
        return [Finding("engine", "failed", str(error), "Correct the setting.")]
    async with client:
        _, found = await check_engine(client, settings, probing=probing)
        return found


async def _kafka(settings: Settings, job_types: list[str]) -> list[Finding]:
    try:
        kafka = kafka_connection(settings)
        if kafka is None:
            return []
        with needs("kafka", "Kafka"):
            from rochallor_worker.doctor.brokers import check_brokers  # noqa: PLC0415 — the extra may be missing
    except StartError as error:
        return [Finding("Kafka", "failed", str(error), "Set or install it.")]
    return await asyncio.to_thread(check_brokers, kafka, job_types)
