"""Things that stop an instance, which of them matters, and where they are explained."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["stops", "unknown", "waits", "moves", "ended"]
"""Something is wrong; it is not known; something or someone is waited for, as meant; nothing is wrong; it has ended.
In this order, the one to look at first."""
ORDER: tuple[State, ...] = ("stops", "unknown", "waits", "moves", "ended")
REASONS = frozenset(
    {
        *("ApiError", "Available", "BreakerOpen", "Canary", "CanaryFailed", "CanaryWaiting", "ConfigMapNotFound"),
        *("ConnectionInvalid", "ConnectionNotAllowed", "ConnectionNotFound", "CrashLoopBackOff", "DatabaseRefuses"),
        *("DatabaseUnreachable", "Disabled", "Draining", "Drifted", "EngineRefuses", "EngineUnreachable", "Forbidden"),
        *("Healthy", "ImagePullBackOff", "InPlace", "InvalidSpec", "KafkaUnreachable", "KedaNotInstalled"),
        *("LeaseNotRenewable", "MetricsUnavailable", "NameConflict", "NotAssigned", "NotReported", "NotSupported"),
        *("Paused", "PodCreationFailed", "PodMonitorNotInstalled", "PodsNotReady", "PolicyViolation"),
        *("ProgressDeadlineExceeded", "QuotaExceeded", "Reached", "RollingOut", "ScaledToZero", "SecretNotFound"),
        *("Served", "SeveralOperators", "Starting", "Suspended", "TopicNotFound", "TransportMismatch", "Unschedulable"),
        "Unserved",
    }
)
"""The reasons of conditions and of workers that troubleshooting.md explains; a test compares them."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an instance does not move on, in one line."""

    state: State
    why: str
    page: str = ""
    """Where to read on, below docs/."""


def worst(stops: Iterable[Stop]) -> Stop:
    """Return the first one to look at: each of them must move on."""
    return min(stops, key=lambda stop: ORDER.index(stop.state))


def best(stops: Iterable[Stop]) -> Stop:
    """Return the one that keeps it least: any of them can move it on."""
    return max(stops, key=lambda stop: ORDER.index(stop.state))


def of_reason(whose: str, reason: str, sentence: str) -> Stop:
    """Return a reason that a condition or a worker gives."""
    page = f"troubleshooting.md#{reason.lower()}" if reason in REASONS else "troubleshooting.md"
    return Stop("stops", f"{whose}: {reason}: {sentence}", page)
