"""`make faults`: injects every fault several times, prints the figures, and writes them and docs/guarantees.md.

Exits with status 1 if a promise was broken or a fault could not be injected; both are then left as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from bench.page import machine
from faults import figures, page
from faults.figures import Figures, Row
from faults.fleet import EACH
from faults.matrix import SUITES
from faults.result import Result, broken, together
from faults.suite import FULL, SMALL, Case, Size, Suite

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """Inject the faults, print and write the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each fault is injected")
    parser.add_argument("--small", action="store_true", help="as small as in `make test`")
    parser.add_argument("--suite", choices=[suite.name for suite in SUITES], help="only this suite, without the page")
    parser.add_argument("--fault", help="only this fault, without the page")
    parser.add_argument(
        "--fleet", choices=[fleet.name for fleet in EACH], help="only on these engines, without the page"
    )
    wanted = parser.parse_args()
    folder = Path(mkdtemp(prefix="faults-"))
    print(f"the processes' output is kept in {folder}", file=sys.stderr)
    suites: dict[str, list[Row]] = {}
    well = True
    for suite in SUITES:
        if wanted.suite not in {None, suite.name}:
            continue
        cases = [
            case
            for case in suite.cases
            if wanted.fault in {None, case.fault} and wanted.fleet in {None, case.fleet.name}
        ]
        if not cases:
            continue
        played = asyncio.run(play(suite, cases, wanted.runs, SMALL if wanted.small else FULL, folder / suite.name))
        suites[suite.name] = [
            Row(case.fault, case.fleet.name, len(found), together(found)) for case, found in played.items() if found
        ]
        if suites[suite.name]:
            print(page.table(suites[suite.name]), flush=True)
        well = well and all(len(found) == wanted.runs and not any(map(broken, found)) for found in played.values())
    if well and wanted.suite is wanted.fault is wanted.fleet is None:
        ran = Figures(machine(), suites)
        figures.save(ran)
        page.write(ran)
    return 0 if well else 1


async def play(
    suite: Suite[Any], cases: Sequence[Case], runs: int, size: Size, folder: Path
) -> dict[Case, list[Result]]:
    """Inject the faults of a suite, one round after another; report each result as soon as it is known."""
    played: dict[Case, list[Result]] = {case: [] for case in cases}

    def report(case: Case, result: Result | Exception) -> None:
        print(f"{suite.name}, {case}, run {run}: {described(result)}", file=sys.stderr, flush=True)

    with suite.server() as server:
        for run in range(1, runs + 1):
            ended = await suite.play(server, size, folder / str(run), cases, report)
            for case, result in ended.items():
                if isinstance(result, Result):
                    played[case].append(result)
    return played


def described(result: Result | Exception) -> str:
    """Describe one result."""
    if isinstance(result, AssertionError):
        return f"BROKEN: {result!s:.300}"
    if isinstance(result, Exception):
        return f"not injected: {result!r:.300}"
    return f"BROKEN: {', '.join(broken(result))}: {result}" if broken(result) else "kept"


if __name__ == "__main__":
    sys.exit(main())
