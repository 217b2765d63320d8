"""The engines that a fault is injected on (engine.md, "Generations")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rochallor_worker.devengine import DevEngine

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Generation


@dataclass(frozen=True)
class Fleet:
    """Replicas of one generation, or of two that answer in turn."""

    name: str
    generation: Generation = "fenced"
    heartbeat: bool = True
    rolling: bool = False

    @property
    def fenced(self) -> bool:
        """Whether each replica checks the lease's owner, so that a repeated or late outcome changes nothing."""
        return self.generation == "fenced" and not self.rolling

    def engine(self, **settings: Any) -> DevEngine:
        """Return an engine with these rules, not started yet."""
        rules: dict[str, Any] = {"generation": self.generation, "heartbeat": self.heartbeat}
        # bound to all addresses, it answers to any host name; on loopback only to localhost
        engine = DevEngine(host="0.0.0.0", grpc_port=0, **rules, **settings)
        engine.state.rolling = self.rolling
        return engine


ANY = Fleet("")
"""For faults outside the engine, where its generation does not matter: the newest."""
A = Fleet("A", generation="A")
C = Fleet("C", heartbeat=False)
D = Fleet("D")
A_AND_D = Fleet("A, D in turn", rolling=True)
EACH = (A, C, D)
