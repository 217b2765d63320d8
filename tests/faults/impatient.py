"""The operator with little patience for a silent watch, so that a fault need not last for minutes."""

from __future__ import annotations

from rochallor_operator import canary
from rochallor_operator.__main__ import main

WATCH_LIMIT_S = 6
"""How long its watch may be silent; its canary sings three times as often."""

if __name__ == "__main__":
    canary.LIMIT_S = WATCH_LIMIT_S  # type: ignore[misc]
    main()
