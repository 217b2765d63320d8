"""Leader election: one of several operators is active, the others stand by.

The client library's own (kubernetes.aio.leaderelection) is not used: it compares wall-clock times, which may jump; its
requests have no timeout, so a silent API server keeps a leader leading forever; a connection error ends it; it never
releases the lease. The rules are those of client-go:

- A candidate takes the lease when it is free, or when it has seen no change of it for the lease's duration on its own
  monotonic clock. Clocks of different candidates are never compared.
- A leader leads until `renew_deadline` after it *sent* its last successful write. That is before any candidate's wait
  can end, because a candidate starts to wait when it sees the write, which is after it was sent.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from rochallor_operator.errors import KubernetesError, LeadershipLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds. Between renew_deadline and duration is the time to stop, and a margin for clocks of different speed."""

    duration: int = 15
    renew_deadline: float = 10
    retry: float = 2


class Leases(Protocol):
    """The methods of Kube that an Elector needs."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The live object."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object of this resource version."""


class Elector:
    """One candidate for one Lease. identity must differ between any two starts of any process; owners are the owner
    references of a new Lease."""

    def __init__(
        self,
        leases: Leases,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing | None = None,
        owners: Sequence[Manifest] = (),
    ) -> None:
        self._leases = leases
        self._namespace = namespace
        self._name: Final = name
        self._identity: Final = identity
        self._timing: Final = timing or Timing()
        self._owners: Final = list(owners)
        self._live: Manifest | None = None
        self._changed_at = 0.0
        self._leads_until = 0.0
        self._problem = ""

    @property
    def leads(self) -> bool:
        """Whether the lease is certainly held now. False as soon as another candidate could take it."""
        return _now() < self._leads_until

    async def acquire(self) -> None:
        """Wait until the lease is ours, however long that takes."""
        logged = ""
        while not await self._try():
            if self._problem != logged:
                log.info("standing by", extra={"lease": self._name, "reason": self._problem})
                logged = self._problem
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
        problem = self._problem or "the API server did not answer in time"
        raise LeadershipLostError(f"lost the lease {self._name!r}: {problem}")

    async def release(self) -> None:
        """Release the lease, so that another operator takes it at once. After an error it only has to wait."""
        if self._live is None or not self.leads:
            return
        self._leads_until = 0.0
        try:
            await self._leases.replace(self._lease(self._live, holder=""))
        except KubernetesError as error:
            level = logging.INFO if error.status == 403 else logging.WARNING  # `helm uninstall` takes the rights first
            log.log(level, "can't release the lease", extra={"lease": self._name, "error": str(error)})

    async def _try(self) -> bool:
        """Take or renew the lease; returns whether it is ours now."""
        try:
            return await self._take()
        except KubernetesError as error:
            self._problem = str(error)
            return False

    async def _take(self) -> bool:
        live = await self._leases.read("Lease", self._namespace, self._name)
        if live != self._live:
            self._live, self._changed_at = live, _now()
        if live is not None and (holder := self._holder_to_wait_for(live)):
            self._problem = f"{holder} leads"
            self._leads_until = 0.0
            return False
        sent_at = _now()
        write = self._leases.create if live is None else self._leases.replace
        # If another candidate wrote meanwhile, it has won: a conflict is an error like any other here.
        self._live = await write(self._lease(live, self._identity))
        self._leads_until = sent_at + self._timing.renew_deadline
        self._problem = ""
        return True

    def _holder_to_wait_for(self, live: Manifest) -> str:
        spec = live.get("spec") or {}
        holder: str = spec.get("holderIdentity") or ""
        ended = self._changed_at + spec.get("leaseDurationSeconds", self._timing.duration) <= _now()
        return "" if holder == self._identity or ended else holder

    def _lease(self, live: Manifest | None, holder: str) -> Manifest:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # only for people
        metadata: Manifest = {"namespace": self._namespace, "name": self._name}
        # Changing an object's owners may need the right to delete it, so an existing Lease keeps its own.
        if owners := self._owners if live is None else live["metadata"].get("ownerReferences", []):
            metadata["ownerReferences"] = owners
        before = (live or {}).get("spec") or {}
        spec = before | {"holderIdentity": holder, "leaseDurationSeconds": self._timing.duration, "renewTime": now}
        if live is not None:
            metadata["resourceVersion"] = live["metadata"]["resourceVersion"]
        if holder and before.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": before.get("leaseTransitions", -1) + 1}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _now() -> float:
    return asyncio.get_running_loop().time()
