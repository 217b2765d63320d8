"""This worker beside the engine's SDK, from docs/figures/sdk.json, the figures of the last run of `bench.sdk`.

`docs/generate.py` writes the tables into the pages, between `<!-- figures: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FILE = Path(__file__).parent / "figures" / "sdk.json"
SHOWN = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = dict[str, Any]


def measured(run: dict[str, Any]) -> str:
    """All figures of the run, for docs/migrating.md."""
    return (
        f"{run['machine']}; the machine did other work as well. The median of {run['rounds']} rounds in turn, with the"
        " lowest and the highest:\n\n"
    ) + _table(
        ("worker", "throughput", "CPU per job", "three steps"),
        (
            (
                row["worker"] + (f", `{row['options']}`" if row["options"] else ""),
                "{1:,} jobs/s ({0:,}–{2:,})".format(*row["jobs_per_second"]),
                f"{row['cpu']:g}",
                f"{row['chain_seconds']:g} s",
            )
            for row in run["rows"]
        ),
    )


def front(run: dict[str, Any]) -> str:
    """The rows of the front page: what each of the workers gets, with its defaults or the SDK's best option."""
    ours, plain, quick, renewing = run["rows"]
    rows: tuple[tuple[str, Callable[[Row], str], Row], ...] = (
        ("no-op jobs, 64 slots", _rate, plain),
        ("the same, the SDK polling every 10 ms", _rate, quick),
        ("an instance of three steps", _chain, plain),
        ("CPU per job", _cpu, plain),
        ("CPU per job, with leases renewed", _cpu, renewing),
    )
    return _table(
        ("measured", plain["worker"], ours["worker"]),
        ((name, figure(theirs), f"**{figure(ours)}**") for name, figure, theirs in rows),
    )


def _rate(row: Row) -> str:
    return f"{row['jobs_per_second'][1]:,} jobs/s"


def _chain(row: Row) -> str:
    return f"{row['chain_seconds']:g} s"


def _cpu(row: Row) -> str:
    return f"{row['cpu']:g} ×"


TABLES = {"measured": measured, "front": front}


def with_figures(page: str) -> str:
    """A page with the present figures of the last run."""
    run = json.loads(FILE.read_text(encoding="utf-8"))
    return SHOWN.sub(lambda found: f"{found[1]}\n{TABLES[found[2]](run)}\n{found[3]}", page)


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |\n" for row in (columns, *rows))
    return "".join([head, "|---" * len(columns), "|\n", *body])
