"""Each fault once, small; `make faults` runs them for longer. (Those of pods: tests/e2e.)

Here each is injected on the newest of its engines, and on others only where a worker must behave differently.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from faults.matrix import PROCESSES
from faults.result import check
from faults.suite import SMALL, Case, Played, Suite

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark import ParameterSet


def cases() -> list[ParameterSet]:
    return [pytest.param(suite, case, id=f"{suite.name}-{case}") for suite in PROCESSES for case in suite.short]


@pytest.fixture(scope="session")
def played() -> dict[str, Played]:
    """Results of the chosen faults, by suite: a suite's faults run together when its first test runs."""
    return {}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("suite", "case"), cases())
def test_no_promise_is_broken(
    suite: Suite[Any],
    case: Case,
    played: dict[str, Played],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if suite.name not in played:
        played[suite.name] = asyncio.run(play(suite, chosen(request, suite), tmp_path_factory.mktemp("faults")))
    check(played[suite.name][case])


def chosen(request: pytest.FixtureRequest, suite: Suite[Any]) -> list[Case]:
    """Return the cases of a suite that are selected in this run of pytest."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return [params["case"] for params in specs if params.get("suite") is suite]


async def play(suite: Suite[Any], cases: list[Case], folder: Path) -> Played:
    with suite.server() as server:
        return await suite.play(server, SMALL, folder, cases)
