"""Renews the leases of jobs that run for longer than a third of one (engine.md, "Heartbeat").

Short jobs cost no call. An engine that cannot renew is no error: such a job has its fixed lease, and renewal is tried
again, since replicas of two generations may answer in turn and an upgrade may come at any time.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rochallor_worker.engine.client import EngineClient
from rochallor_worker.errors import Conflict, EngineError, NotSupported
from rochallor_worker.events import Observer, Overran, Renewed, RenewResult
from rochallor_worker.execution.lease import Lease
from rochallor_worker.logger import get_logger
from rochallor_worker.traces import Active, traceparent

TICK = 0.25
"""Seconds between two checks for leases that are due; a third of the shortest lease is 1.7 s."""
MAX_IN_FLIGHT = 16
RENEW_SECONDS = 5.0
"""Longest wait for the answer to one renewal; a third of a shorter lease."""
CONVINCED_AFTER = 5
"""Refusals in a row, for any jobs, after which the engine is taken to be one that cannot renew leases."""

log = get_logger(__name__)


class Renewals:
    """Renews the leases of the jobs in flight. `clock` gives seconds; `on_overrun` gets each lease that ends before its
    run."""

    def __init__(
        self,
        engine: EngineClient,
        worker_id: str,
        *,
        observer: Observer,
        clock: Callable[[], float],
        on_overrun: Callable[[Lease], None],
    ) -> None:
        self.supported: bool | None = None
        """Whether the engine renews leases; None while that is unknown."""
        self._refusals = 0
        self._engine = engine
        self._worker_id = worker_id
        self._emit = observer
        self._clock = clock
        self._on_overrun = on_overrun
        self._leases: dict[Lease, str] = {}
        """The leases of the jobs in flight, and the span that their renewals belong to."""
        self._in_flight: dict[Lease, asyncio.Task[None]] = {}
        self._due: list[Lease] = []
        """Leases that wait for one in flight to end, the next one last."""

    @contextmanager
    def renewing(self, lease: Lease | None) -> Iterator[None]:
        """Renew the lease of a job, if it has one, until the job is settled."""
        if lease is not None:
            self._leases[lease] = traceparent()
        try:
            yield
        finally:
            if lease is not None:
                self._leases.pop(lease, None)

    async def run(self) -> None:
        """Renew what is due, until cancelled."""
        try:
            while True:
                self._check()
                await asyncio.sleep(TICK)
        finally:
            self._due.clear()
            for task in self._in_flight.values():
                task.cancel()

    def _check(self) -> None:
        now = self._clock()
        for lease in self._leases:
            if lease.end <= now and not (lease.overran or lease.handler_ended):
                lease.overran = True
                self._overran(lease)
        due = [lease for lease in self._leases if lease.renew_at <= now < lease.end and not lease.lost]
        due = [lease for lease in due if lease not in self._in_flight]
        # those of runs first: a parked job that is redelivered spends no retry, a run that is interrupted does
        self._due = sorted(due, key=lambda lease: (lease.handler_ended, lease.end), reverse=True)
        self._start()

    def _start(self) -> None:
        """Renew as many leases at a time as there may be; when one is renewed, the next one follows."""
        while self._due and len(self._in_flight) < MAX_IN_FLIGHT:
            lease, now = self._due.pop(), self._clock()
            if lease not in self._leases or lease.lost or lease.renew_at > now or lease.end <= now:
                continue
            lease.renew_at = now + lease.grant.length / (3 if self.supported is False else 9)  # unless it succeeds
            self._in_flight[lease] = task = asyncio.create_task(self._renew(lease), name=f"renew {lease.job.id}")
            task.add_done_callback(partial(self._ended, lease))

    def _ended(self, lease: Lease, _: asyncio.Task[None]) -> None:
        self._in_flight.pop(lease, None)
        self._start()

    async def _renew(self, lease: Lease) -> None:
        job, asked_at = lease.job, self._clock()
        result: RenewResult
        try:
            async with asyncio.timeout(min(RENEW_SECONDS, lease.grant.length / 3)):
                with Active(self._leases.get(lease, "")):
                    expires_at = await self._engine.extend_lease(job.id, self._worker_id, lease.grant.nominal)
        except Conflict as error:
            result = "lost"
            if lease.job is job and lease in self._leases:  # else a later claim, or the outcome, came first
                log.warning("the lease is lost; the handler is cancelled", **_names(lease), error=str(error))
                lease.lose()
        except NotSupported as error:
            result = "unsupported"
            lease.renewable = False
            self._refusals += 1
            if self._refusals == CONVINCED_AFTER:
                log.warning("the engine cannot renew leases; a run must end within its lease", error=str(error))
                self.supported = False
        except (EngineError, TimeoutError) as error:
            result = "failed"
            log.debug("a lease was not renewed; trying again", **_names(lease), error=str(error))
        else:
            renewed = lease.job is job and lease.renewed(asked_at, expires_at)
            result = "renewed" if renewed else "failed"
            self.supported, self._refusals = True, 0
        self._emit(Renewed(job.job_type, result))

    def _overran(self, lease: Lease) -> None:
        log.warning("a job runs past its lease: another worker may get it", **_names(lease))
        self._emit(Overran(lease.job.job_type))
        if not lease.renewable:  # an outage is not the handler's fault
            self._on_overrun(lease)


def _names(lease: Lease) -> dict[str, Any]:
    return {"job_id": lease.job.id, "job_type": lease.job.job_type, "instance_id": lease.job.instance_id}
