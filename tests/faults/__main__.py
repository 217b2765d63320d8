"""`make faults`: injects every fault several times, prints the matrix and writes docs/guarantees.md.

Ends with status 1 when a promise was broken or a fault could not be played; the page is then left as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from faults import page
from faults.matrix import SUITES
from faults.result import Result, broken, together
from faults.suite import FULL, SMALL, Size, Suite

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """Play, print, write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each fault is played")
    parser.add_argument("--small", action="store_true", help="as small as `make test` plays them")
    parser.add_argument("--suite", choices=[suite.name for suite in SUITES], help="only this one; no page is written")
    parser.add_argument("--fault", help="only this one; no page is written")
    wanted = parser.parse_args()
    folder = Path(mkdtemp(prefix="faults-"))
    print(f"what the processes write is left in {folder}", file=sys.stderr)
    matrices: dict[str, page.Matrix] = {}
    well = True
    for suite in SUITES:
        if wanted.suite not in {None, suite.name}:
            continue
        names = [name for name in suite.faults if wanted.fault in {None, name}]
        played = asyncio.run(play(suite, names, wanted.runs, SMALL if wanted.small else FULL, folder / suite.name))
        matrices[suite.name] = {name: (len(found), together(found)) for name, found in played.items() if found}
        print(page.table(matrices[suite.name]), flush=True)
        well = well and all(len(found) == wanted.runs and not any(map(broken, found)) for found in played.values())
    if well and wanted.suite is None and wanted.fault is None:
        page.write(matrices)
    return 0 if well else 1


async def play(suite: Suite[Any], names: Sequence[str], runs: int, size: Size, folder: Path) -> dict[str, list[Result]]:
    """Play faults of a suite one round after another; say what breaks a promise as soon as it is known."""
    played: dict[str, list[Result]] = {name: [] for name in names}

    def tell(name: str, result: Result | Exception) -> None:
        print(f"{suite.name}, {name}, run {run}: {verdict(result)}", file=sys.stderr, flush=True)

    with suite.server() as server:
        for run in range(1, runs + 1):
            ended = await suite.play(server, size, folder / str(run), names, tell)
            for name, result in ended.items():
                if isinstance(result, Result):
                    played[name].append(result)
    return played


def verdict(result: Result | Exception) -> str:
    """One play in words."""
    if isinstance(result, Exception):
        return f"not played: {result!r:.300}"
    return f"BROKEN: {', '.join(broken(result))}: {result}" if broken(result) else "kept"


if __name__ == "__main__":
    sys.exit(main())
