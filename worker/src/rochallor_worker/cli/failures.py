"""`rochallor-worker failures`: what has failed, grouped by message, and running it again."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from rochallor_worker.asking.failures import Failure, Group, grouped, look_for
from rochallor_worker.asking.retrying import retry_each
from rochallor_worker.cli.calling import FAILED, AsJson, Definition, call, must_exist, told
from rochallor_worker.cli.output import Shown, moment, printable, show, table
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.errors import StartError

PER_SECOND = 10.0
"""Retries per second, unless another rate is given."""


def failures(
    definition: Definition = "",
    since: Annotated[str, typer.Option(metavar="DURATION", help="Only what failed this recently, such as 2h.")] = "",
    job_type: Annotated[str, typer.Option("--type", metavar="JOB_TYPE", help="Only failures of this job type.")] = "",
    message: Annotated[str, typer.Option(metavar="TEXT", help="Only messages that contain this text.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Look at the newest so many FAILED instances.")] = 10_000,
    retry: Annotated[bool, typer.Option("--retry", help="Run the failed steps again, after a question.")] = False,
    rate: Annotated[float, typer.Option(min=0.01, max=1000, help="With --retry: how many per second.")] = PER_SECOND,
    yes: Annotated[bool, typer.Option("--yes", help="With --retry: do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show why instances failed, grouped by step and message; with --retry, run their failed steps again.

    Without --retry nothing is changed: that is the dry run. Doing it twice is safe, as an instance that runs again is
    no longer FAILED. The runs have another `job.key`: an effect that was made before the failure can happen again.

    Engines of generation A have no retry; start other instances there.
    """
    with told():
        earliest = _earliest(since)
        if retry and as_json:
            raise StartError("--retry and --json exclude each other")

    async def find(engine: EngineClient) -> tuple[list[Failure], int]:
        found, total = await look_for(engine, limit, definition_id=definition, since=earliest)
        if definition and not found:
            await must_exist(engine, definition)
        return found, total

    found, total = call(find)
    chosen = [one for one in found if job_type in {"", one.job_type} and message in one.message]
    people = _groups(chosen) if chosen else "no failures"
    show(Shown(people, [_as_json(group) for group in grouped(chosen)]), as_json=as_json)
    for note in _notes(found, total, limit, job_type):
        typer.echo(note, err=True)
    if not (retry and chosen):
        return
    if not yes:
        number, seconds = len(chosen), len(chosen) / rate
        many = f"Run these {number} again, {rate:g} a second, in about {seconds:.0f} s?"
        typer.confirm(many if number > 1 else "Run this one again?", abort=True)
    if call(lambda engine: retry_and_tell(engine, chosen, rate)):
        raise typer.Exit(FAILED)


async def retry_and_tell(
    engine: EngineClient,
    failures: Sequence[Failure],
    per_second: float = PER_SECOND,
    variables: dict[str, Any] | None = None,
) -> int:
    """Retry, and print each instance that is not retried; return how many those are. Raises `EngineError`."""
    done, refused = 0, 0
    try:
        async for failure, why in retry_each(engine, failures, per_second, variables):
            if why:
                refused += 1
                typer.echo(printable(f"{failure.instance.id}: not retried: {why}"), err=True)
            else:
                done += 1
    finally:
        typer.echo(f"{done} of {len(failures)} retried")
    return refused


def _earliest(since: str) -> datetime | None:
    from rochallor_worker.cli.parsing import DURATION_TEXT, parse_duration  # noqa: PLC0415 — pydantic loads slowly

    if not since:
        return None
    try:
        seconds = parse_duration(since)
    except ValueError:
        raise StartError(f"--since {since!r} is not valid: must be {DURATION_TEXT}") from None
    return datetime.fromtimestamp(time.time() - float(str(seconds)), UTC)


def _groups(failures: Iterable[Failure]) -> Any:
    return table(
        ("instances", "definition", "step", "job type", "latest (UTC)", "message of the latest", "its id"),
        (
            (
                len(group.failures),
                group.latest.instance.definition_id,
                group.latest.step_id or "–",
                group.latest.job_type or ("–" if group.latest.known else "not known"),
                moment(group.latest.at),
                group.latest.message,
                group.latest.instance.id,
            )
            for group in grouped(failures)
        ),
    )


def _as_json(group: Group) -> dict[str, Any]:
    return {
        "definitionId": group.latest.instance.definition_id,
        "stepId": group.latest.step_id,
        "jobType": group.latest.job_type,
        "message": group.latest.message,
        "latest": group.latest.at,
        "instances": [failure.instance.id for failure in group.failures],
    }


def _notes(found: Sequence[Failure], total: int, limit: int, job_type: str) -> Iterable[str]:
    if total > limit:
        yield f"only the newest {limit} of {total} FAILED instances were looked at: see --limit"
    unknown = sum(not failure.known for failure in found)
    if job_type and unknown:
        yield f"left out: {unknown} whose job type this engine does not say over gRPC; REST says it"
