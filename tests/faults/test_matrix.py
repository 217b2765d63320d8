"""Each fault once, small: `make faults` plays them for longer. (Those of pods: tests/e2e.)"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from faults.matrix import PROCESSES
from faults.result import check
from faults.suite import SMALL, Played, Suite

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark import ParameterSet


def cases() -> list[ParameterSet]:
    return [pytest.param(suite, fault, id=f"{suite.name}-{fault}") for suite in PROCESSES for fault in suite.faults]


@pytest.fixture(scope="session")
def played() -> dict[str, Played]:
    """What came of the chosen faults, by suite: those of a suite are played together when its first test runs."""
    return {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("suite", "fault"), cases())
def test_no_promise_is_broken(
    suite: Suite[Any],
    fault: str,
    played: dict[str, Played],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if suite.name not in played:
        played[suite.name] = asyncio.run(play(suite, chosen(request, suite), tmp_path_factory.mktemp("faults")))
    check(played[suite.name][fault])


def chosen(request: pytest.FixtureRequest, suite: Suite[Any]) -> list[str]:
    """The faults of a suite that this run of pytest asks for."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return [params["fault"] for params in specs if params.get("suite") is suite]


async def play(suite: Suite[Any], faults: list[str], folder: Path) -> Played:
    with suite.server() as server:
        return await suite.play(server, SMALL, folder, faults)
