"""What a resource's status keeps of its rollout: with the objects, all that a new operator needs to go on (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.names import Manifest


class Phase(StrEnum):
    """Where a rollout stands."""

    STABLE = "Stable"  # all pods are of one version
    PROGRESSING = "Progressing"  # a new version is on trial
    WAITING = "Waiting"  # on trial too, but something must be known before it goes on
    PAUSED = "Paused"  # failed, and left for a person to look at
    PROMOTING = "Promoting"  # passed: the stable pods get the new version
    FAILED = "Failed"  # failed or aborted: only the stable pods run


ON_TRIAL: Final = frozenset({Phase.PROGRESSING, Phase.WAITING})
UNFINISHED: Final = ON_TRIAL | {Phase.PROMOTING}
WITH_CANARY: Final = UNFINISHED | {Phase.PAUSED}
STOPPED: Final = frozenset({Phase.PAUSED, Phase.FAILED})


class Counts(NamedTuple):
    """Jobs that ended in a step; how many of them failed, and how many took longer than the gate allows."""

    jobs: int = 0
    failures: int = 0
    slow: int = 0

    def plus(self, more: Counts) -> Counts:
        """The sum."""
        return Counts(*(one + other for one, other in zip(self, more, strict=True)))


NOTHING: Final = Counts()


@dataclass(frozen=True)
class State:
    """The state of a rollout. A version is the hash of a pod template.

    The stable pods have the template of `stable`, whatever the spec says.
    """

    phase: Phase
    stable: str
    revision: str
    """The version on trial or last tried; at rest, the same as `stable`."""
    step: int = 0
    since: datetime | None = None
    """When the step began, and once it is `available`, when it became so."""
    available: bool = False
    """Whether all pods of the step have been available."""
    share: str = ""
    """The canary's real share, such as 9% of the slots."""
    canary: Counts = NOTHING
    others: Counts = NOTHING
    """What the stable pods counted meanwhile."""
    message: str = ""
    """Why it waits or failed, or what keeps the canary from starting."""

    def status(self, steps: int) -> Manifest:
        """The field rollout of a resource's status."""
        fields: Manifest = {"phase": str(self.phase), "stableRevision": self.stable, "revision": self.revision}
        if self.phase == Phase.STABLE:
            return fields
        fields |= {"step": self.step + 1, "steps": steps, "share": self.share, "message": self.message}
        fields |= {"canary": _counts(self.canary), "stable": _counts(self.others)}
        if self.since is not None:
            fields |= {"since": self.since.strftime("%Y-%m-%dT%H:%M:%SZ"), "available": self.available}
        return {name: value for name, value in fields.items() if value or name == "available"}


def recorded(resource: Mapping[str, Any]) -> State | None:
    """The state in a resource's status; None when there is none, or none that can be read."""
    fields = resource.get("status", {}).get("rollout")
    try:
        since = fields.get("since")
        return State(
            phase=Phase(fields["phase"]),
            stable=fields["stableRevision"],
            revision=fields["revision"],
            step=max(0, fields.get("step", 1) - 1),
            since=None if since is None else datetime.fromisoformat(since),
            available=fields.get("available", False),
            share=fields.get("share", ""),
            canary=Counts(**fields.get("canary", {})),
            others=Counts(**fields.get("stable", {})),
            message=fields.get("message", ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _counts(counts: Counts) -> Manifest:
    return {name: count for name, count in counts._asdict().items() if name != "slow" or count}
