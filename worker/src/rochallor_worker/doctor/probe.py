"""Finds out what an engine is.

`observe` leaves no trace: it asks about a job and an instance that do not exist, and polls a job type that nobody uses;
the answers differ by generation (engine.md, "Fenced engines"). `probe` is certain, and finds out more: it uploads a
definition and runs an instance of it.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rochallor_worker.doctor.facts import Answer, Facts
from rochallor_worker.engine.client import ClaimedJob, EngineClient, InstanceStatus
from rochallor_worker.errors import Conflict, DispatchMismatch, EngineError, NotFound, NotSupported, Rejected
from rochallor_worker.execution.lease import FIXED_LENGTH

TIMES = 8
"""How often each question is asked, all at once, so that several replicas answer it if there are any."""
ASKED_LEASE = 600.0
"""Far from the fixed length, so that the two differ whatever the clocks say."""
CLAIM_SECONDS = 10.0
"""How long the engine may take to hand out a job of the probe."""
WORKER, STRANGER = "probe", "another-probe"


async def observe(engine: EngineClient, name: str) -> Facts:
    """Find out what shows without leaving a trace. No job type, job or instance may be called `name`.

    Raises `EngineError`.
    """
    renewable = await _asked(lambda: _renews(engine, name))
    answers_as_fenced = await _asked(lambda: _answers_as_fenced(engine, name))
    return Facts(
        kafka=await _asked(lambda: _dispatches_over_kafka(engine, name)),
        fenced=Answer.YES if renewable is Answer.YES else answers_as_fenced,  # only fenced engines can renew leases
        renewable=renewable,
        retry_step=await _asked(lambda: _retries_steps(engine, name)),
    )


async def probe(engine: EngineClient, name: str) -> Facts:
    """Find out everything, with a version of the definition `name` that has a job type of its own.

    Where jobs are dispatched over Kafka it only observes: a job type without a topic would stop the dispatch of every
    type. Raises `EngineError`.
    """
    job_type = f"{name}-{secrets.token_hex(4)}"
    facts = await observe(engine, job_type)
    return await _Trial(engine, name, job_type).run(facts) if facts.kafka is Answer.NO else facts


async def _asked(question: Callable[[], Awaitable[Answer]]) -> Answer:
    return Answer.together(await asyncio.gather(*(question() for _ in range(TIMES))))


async def _dispatches_over_kafka(engine: EngineClient, name: str) -> Answer:
    try:
        await engine.poll_jobs(WORKER, [name], 1)
    except DispatchMismatch:
        return Answer.YES
    return Answer.NO


async def _renews(engine: EngineClient, job_id: str) -> Answer:
    try:
        await engine.extend_lease(job_id, WORKER, FIXED_LENGTH)
    except NotSupported:
        return Answer.NO
    except (Conflict, NotFound):
        return Answer.YES
    return Answer.UNKNOWN


async def _answers_as_fenced(engine: EngineClient, name: str) -> Answer:
    try:
        await engine.fail_job(name, WORKER, "no such job exists", retryable=False)
    except NotFound as error:
        return Answer.of("no rows in result set" in str(error))
    return Answer.UNKNOWN


async def _retries_steps(engine: EngineClient, name: str) -> Answer:
    try:
        await engine.retry_step(name, "step")
    except NotSupported:
        return Answer.NO
    except NotFound:
        return Answer.YES
    return Answer.UNKNOWN


class _Trial:
    """One instance of one task, which is failed once, then completed by a stranger, then by its owner."""

    def __init__(self, engine: EngineClient, name: str, job_type: str) -> None:
        self._engine = engine
        self._name = name
        self._job_type = job_type

    async def run(self, facts: Facts) -> Facts:
        """Add what the instance shows to what is known. Cancels it if it does not end."""
        schemas, version = await self._upload()
        instance = await self._engine.start_instance(
            self._name, {"probe": True}, version=version, business_key=self._job_type
        )
        try:
            unique = await self._unique_business_keys(version, facts)
            first, usual = await self._claim(instance.id, None)
            await self._engine.fail_job(first.id, WORKER, "the probe checks retries", retryable=True)
            second, asked = await self._claim(instance.id, ASKED_LEASE)
            await self._engine.complete_job(second.id, STRANGER, {})
            fenced = (await self._engine.get_instance(instance.id)).status is InstanceStatus.ACTIVE
            if fenced:
                await self._engine.complete_job(second.id, WORKER, {})
            ended = await self._engine.get_instance(instance.id)
            if ended.status is not InstanceStatus.COMPLETED:
                raise EngineError(f"the instance {instance.id} of the probe is {ended.status}, not COMPLETED")
        except BaseException:
            with contextlib.suppress(EngineError):
                await self._engine.cancel_instance(instance.id, reason="the probe ended early")
            raise
        on_request = asked - usual > (ASKED_LEASE - FIXED_LENGTH) / 2
        if first.locked_at is None:  # measured by this machine's clock
            usual = round(ASKED_LEASE - (asked - usual) if on_request else usual)
        skew = asked - ASKED_LEASE if on_request else usual - FIXED_LENGTH
        return replace(
            facts,
            tried=True,
            fenced=Answer.MIXED if facts.fenced is Answer.MIXED else Answer.of(fenced),
            lease=usual,
            lease_on_request=Answer.of(on_request),
            clock_skew=skew if second.locked_at is not None else None,
            stable_key=Answer.of(bool(first.step_execution_id) and first.key == second.key),
            new_id_per_attempt=Answer.of(first.id != second.id),
            schemas=schemas,
            unique_business_keys=unique,
            variables_in_claims=Answer.of(second.variables is not None),
        )

    async def _upload(self) -> tuple[Answer, int]:
        """Upload the definition, with schemas if they are accepted; return whether they are, and its version."""
        schema = {"type": "object"}
        task = {"id": "task", "name": "Task", "type": "SERVICE_TASK", "jobType": self._job_type, "retryCount": 1}
        task["nextStep"] = "end"
        end = {"id": "end", "name": "End", "type": "END"}
        plain: dict[str, Any] = {"id": self._name, "name": "Probe of an engine", "steps": [task, end]}
        try:
            uploaded = await self._engine.upload_definition(
                plain | {"input_schema": schema, "steps": [task | {"outputs_schema": schema}, end]}
            )
        except Rejected:
            return Answer.NO, (await self._engine.upload_definition(plain)).version
        # over gRPC, an older engine ignores fields that it does not know
        kept = await self._engine.get_definition(self._name, uploaded.version)
        return Answer.of("input_schema" in kept), uploaded.version

    async def _unique_business_keys(self, version: int, facts: Facts) -> Answer:
        """Start a second instance with the same key where that should be refused; older engines accept it."""
        if facts.retry_step is Answer.NO:
            return Answer.NO
        try:
            second = await self._engine.start_instance(self._name, version=version, business_key=self._job_type)
        except Conflict:
            return Answer.YES
        await self._engine.cancel_instance(second.id, reason="the probe checks business keys")
        return Answer.NO

    async def _claim(self, instance_id: str, lease: float | None) -> tuple[ClaimedJob, float]:
        """Claim the instance's job; return it and the length of its lease in seconds."""
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                while not (job := await self._poll(instance_id, lease)):  # noqa: ASYNC110 — another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise EngineError(f"the probe's job was not handed out within {CLAIM_SECONDS:g} s") from None
        if job.lock_expires_at is None:
            raise EngineError("the engine does not say when the lease of a claimed job ends")
        return job, (job.lock_expires_at - (job.locked_at or datetime.now(UTC))).total_seconds()

    async def _poll(self, instance_id: str, lease: float | None) -> ClaimedJob | None:
        jobs = await self._engine.poll_jobs(WORKER, [self._job_type], 10, lease)
        return next((job for job in jobs if job.instance_id == instance_id), None)
