"""Leader election: of several operators one works, the others stand by.

The client library's own (kubernetes.aio.leaderelection) is not used: it compares times of the wall clock, which may
jump; its requests have no time limit, so that a silent API server keeps a leader leading for ever; an error of the
connection ends it; it never releases the lease. The rules are those of client-go:

- A candidate takes the lease when it is free, or when it has seen no change of it for the lease's duration on its own
  monotonic clock. No clock is ever compared with another one's.
- A leader leads until `renew_deadline` after it *sent* its last successful write. That is before any candidate's wait
  can end, which begins when the write is seen, not before it was sent.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from rochallor_operator.errors import KubernetesError, LeadershipLostError

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds. What is between duration and renew_deadline is the time to stop in, and for clocks that run unevenly."""

    duration: int = 15
    renew_deadline: float = 10
    retry: float = 2


class Leases(Protocol):
    """The part of Kube that is needed."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The live object."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object of this resource version."""


class Elector:
    """One candidate for one Lease. identity must be another one for every start of every process."""

    def __init__(self, leases: Leases, namespace: str, name: str, identity: str, timing: Timing | None = None) -> None:
        self._leases = leases
        self._namespace = namespace
        self._name: Final = name
        self._identity: Final = identity
        self._timing: Final = timing or Timing()
        self._live: Manifest | None = None
        self._changed_at = 0.0
        self._leads_until = 0.0
        self._trouble = ""

    @property
    def leads(self) -> bool:
        """Whether the lease is held now for certain. False from the moment on at which another one could take it."""
        return _now() < self._leads_until

    async def acquire(self) -> None:
        """Wait until the lease is ours, however long that takes."""
        told = ""
        while not await self._try():
            if self._trouble != told:
                log.info("standing by", extra={"lease": self._name, "because": self._trouble})
                told = self._trouble
            await asyncio.sleep(self._timing.retry)
        log.info("leading", extra={"lease": self._name, "identity": self._identity})

    async def renew(self) -> None:
        """Keep the lease. Never returns; raises LeadershipLostError when it is lost, or may be soon."""
        while self.leads:
            try:
                async with asyncio.timeout_at(self._leads_until):
                    await asyncio.sleep(self._timing.retry)
                    await self._try()
            except TimeoutError:
                break
        trouble = self._trouble or "the API server did not answer in time"
        raise LeadershipLostError(f"lost the lease {self._name!r}: {trouble}")

    async def release(self) -> None:
        """Give the lease up, so that another operator takes it at once. Trouble only means that it has to wait."""
        if self._live is None or not self.leads:
            return
        self._leads_until = 0.0
        try:
            await self._leases.replace(self._lease(self._live, holder=""))
        except KubernetesError as error:
            log.warning("the lease could not be released", extra={"lease": self._name, "error": str(error)})

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is ours now."""
        try:
            return await self._take()
        except KubernetesError as error:
            self._trouble = str(error)
            return False

    async def _take(self) -> bool:
        live = await self._leases.read("Lease", self._namespace, self._name)
        if live != self._live:
            self._live, self._changed_at = live, _now()
        if live is not None and (holder := self._holder_to_wait_for(live)):
            self._trouble = f"{holder} leads"
            self._leads_until = 0.0
            return False
        sent_at = _now()
        write = self._leases.create if live is None else self._leases.replace
        # Whoever else wrote meanwhile has won: a conflict is an error like any other here.
        self._live = await write(self._lease(live, self._identity))
        self._changed_at = _now()
        self._leads_until = sent_at + self._timing.renew_deadline
        self._trouble = ""
        return True

    def _holder_to_wait_for(self, live: Manifest) -> str:
        spec = live.get("spec") or {}
        holder: str = spec.get("holderIdentity") or ""
        ended = self._changed_at + spec.get("leaseDurationSeconds", self._timing.duration) <= _now()
        return "" if holder == self._identity or ended else holder

    def _lease(self, live: Manifest | None, holder: str) -> Manifest:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # for people alone
        metadata = {"namespace": self._namespace, "name": self._name}
        before = (live or {}).get("spec") or {}
        spec = before | {"holderIdentity": holder, "leaseDurationSeconds": self._timing.duration, "renewTime": now}
        if live is not None:
            metadata["resourceVersion"] = live["metadata"]["resourceVersion"]
        if holder and before.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": before.get("leaseTransitions", -1) + 1}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _now() -> float:
    return asyncio.get_running_loop().time()
