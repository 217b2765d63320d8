"""All suites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faults.apiserver import API_SERVER
from faults.dependency import DEPENDENCY, DEPENDENCY_OVER_KAFKA
from faults.engine import ENGINE
from faults.kafka import KAFKA
from faults.leases import LEASES
from faults.network import NETWORK
from faults.operator import OPERATOR
from faults.pods import PODS
from faults.worker import WORKER

if TYPE_CHECKING:
    from faults.suite import Suite

PROCESSES: list[Suite[Any]] = [
    ENGINE,
    NETWORK,
    WORKER,
    LEASES,
    KAFKA,
    DEPENDENCY,
    DEPENDENCY_OVER_KAFKA,
    OPERATOR,
    API_SERVER,
]
"""The suites that need no pods."""
SUITES: list[Suite[Any]] = [*PROCESSES, PODS]
