"""The figures of the last run of all faults, in docs/figures/faults.json: docs/guarantees.md is made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from faults.result import Jobs, Outage, Resources, Result, WithoutBreaker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE = Path(__file__).parents[2] / "docs" / "figures" / "faults.json"
KINDS: dict[str, type[Result]] = {kind.__name__: kind for kind in (Jobs, Outage, WithoutBreaker, Resources)}


class Row(NamedTuple):
    """One fault on one fleet of engines (empty where the engine does not matter), and what its runs cost together."""

    fault: str
    engine: str
    runs: int
    result: Result


class Figures(NamedTuple):
    """A run of all faults: on which machine and day, and each suite's rows."""

    machine: str
    suites: Mapping[str, Sequence[Row]]


def save(figures: Figures) -> None:
    """Write the file, one row a line."""
    rows = [
        {
            "suite": suite,
            "fault": row.fault,
            "engine": row.engine,
            "runs": row.runs,
            "kind": type(row.result).__name__,
            **vars(row.result),
        }
        for suite, found in figures.suites.items()
        for row in found
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    FILE.write_text(f'{{"machine": {json.dumps(figures.machine)}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def load() -> Figures:
    """Read the file."""
    read = json.loads(FILE.read_text(encoding="utf-8"))
    suites: dict[str, list[Row]] = {}
    for row in read["rows"]:
        suite, fault, engine, runs, kind = (row.pop(name) for name in ("suite", "fault", "engine", "runs", "kind"))
        suites.setdefault(suite, []).append(Row(fault, engine, runs, KINDS[kind](**row)))
    return Figures(read["machine"], suites)
