"""The operator's Prometheus metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECONCILES: Final = Counter(
    "rochallor_operator_reconciles", "Reconciles by result: settled, unsettled or failed.", ["result"]
)
RECONCILE_SECONDS: Final = Histogram("rochallor_operator_reconcile_seconds", "How long one reconcile took.")
QUEUE_DEPTH: Final = Gauge("rochallor_operator_queue_depth", "Resources that wait to be reconciled.")
API_WRITES: Final = Counter("rochallor_operator_api_writes", "Writes sent to the API server by kind.", ["kind"])
