"""docs/guarantees.md, from the figures of one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.page import machine
from faults.result import Result, broken

if TYPE_CHECKING:
    from collections.abc import Mapping

Matrix = dict[str, tuple[int, Result]]
"""Fault → (how often it was played, its figures)."""

PAGE_FILE = Path(__file__).parents[2] / "docs" / "guarantees.md"

TITLES = {
    "recovery_s": "time to recover",
    "retries": "retries spent by us",
    "disordered": "out of order",
    "drain_s": "drain",
    "overdrawn": "drains too long",
    "unconverged": "not converged",
    "rollouts": "needless rollouts",
    "owed": "owed to the fault",
}
"""Columns whose title is not their name."""


def table(matrix: Matrix) -> str:
    """The matrix of one suite. A figure that breaks a promise is bold."""
    columns = list(dict.fromkeys(name for _, result in matrix.values() for name in vars(result)))
    columns.append(columns.pop(columns.index("recovery_s")))
    lines = ["| " + " | ".join(["fault", "runs", *(TITLES.get(name, name) for name in columns)]) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for fault, (runs, result) in matrix.items():
        cells = [_cell(result, name) for name in columns]
        lines.append("| " + " | ".join([fault, f"{runs}", *cells]) + " |")
    return "\n".join(lines)


def _cell(result: Result, name: str) -> str:
    figure = getattr(result, name)
    text = "–" if figure is None else f"{figure:,}" if isinstance(figure, int) else f"{figure:.1f} s"
    return f"**{text}**" if result.promises.get(name) in broken(result) else text


def write(matrices: Mapping[str, Matrix]) -> None:
    """Write the page."""
    tables = "\n\n".join(f"### {name}\n\n{table(matrix)}" for name, matrix in matrices.items())
    PAGE_FILE.write_text(PAGE.format(machine=machine(), tables=tables), encoding="utf-8")


PAGE = """<!-- Written by `make faults` from one run; edit the text in tests/faults/page.py. -->

# Guarantees

## Figures

{machine}.

{tables}
"""
