"""The operator with a short limit for a silent watch, so that a fault need not last for minutes."""

from __future__ import annotations

from rochallor_operator.__main__ import main
from rochallor_operator.cluster import canary

WATCH_LIMIT_S = 15
"""How long its watch may be silent, its pauses between two tries included; its canary changes three times as often."""

if __name__ == "__main__":
    canary.LIMIT_S = WATCH_LIMIT_S  # type: ignore[misc]
    main()
