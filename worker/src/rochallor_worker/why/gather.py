"""Asks the engine, Kubernetes and workers for the facts about an instance; what does not answer is named in them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rochallor_worker.asking.definitions import Steps, definitions_of
from rochallor_worker.asking.failures import failed_step
from rochallor_worker.asking.instances import RUNNING, find
from rochallor_worker.engine.client import EngineClient, Instance, StepExecution
from rochallor_worker.errors import EngineError, NotFound
from rochallor_worker.why.facts import Facts, Step
from rochallor_worker.why.fleet import fleet
from rochallor_worker.why.kubectl import Kubectl


async def gather(engine: EngineClient, reference: str, kubectl: Kubectl | None, pages: Sequence[str]) -> Facts:
    """Return what can be known of the instance with an id or a business key. `pages` are workers' status pages."""
    now = datetime.now(UTC)
    try:
        one = await find(engine, reference)
        history = await engine.get_instance_history(one.id)
        definitions = await definitions_of(engine, [one])
    except NotFound:
        return Facts(now, reference)
    except EngineError as error:
        return Facts(now, reference, engine_problem=str(error))
    steps = tuple(_steps(one, history, *definitions.values())) if one.status in RUNNING else ()
    job_types = {step.job_type for step in steps if step.job_type}
    found = await fleet(kubectl, pages, lambda served: not job_types.isdisjoint(served)) if job_types else None
    return Facts(
        now,
        reference,
        instance_id=one.id,
        definition=f"{one.definition_id} v{one.definition_version}",
        status=one.status,
        failure=one.failure_reason,
        started_at=_comparable(one.started_at),
        failed_step=failed_step(history, one.failure_reason) if one.status == "FAILED" else "",
        steps=steps,
        workers=found.workers if found else None,
        all_workers=found.complete if found else True,
        unknown=found.unknown if found else (),
    )


def _steps(one: Instance, history: Iterable[StepExecution], outlines: Steps) -> Iterable[Step]:
    """Yield the steps that an instance is at, with the latest entry into each."""
    entries = {entry.step_id: entry for entry in sorted(history, key=lambda entry: entry.id)}
    for step_id in one.current_step_ids or ():
        outline, entry = outlines.get(step_id), entries.get(step_id)
        # over gRPC a definition has no steps (engine.md: GetDefinition), though a history has their types
        kind = outline.type if outline else entry.step_type if entry else ""
        yield Step(
            step_id,
            kind,
            job_type=outline.jobs_of if outline else "",
            status=entry.status if entry else "RUNNING",
            since=_comparable(entry.started_at) if entry else None,
            follows=outline is None or outline.goes_on,
            timers=tuple(outline.timers) if outline else (),
        )


def _comparable(time: datetime | None) -> datetime | None:
    """Return a time with its offset; the engine's are in UTC."""
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)
