"""The commands `why` and `top`, and the plugin of kubectl."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rochallor_worker import cli
from rochallor_worker.cli.main import plugin
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.errors import Away
from rochallor_worker.why import fleet
from rochallor_worker.why.facts import Answer, JobState, Slots, TypeState
from unit.worker.asking.conftest import Run
from unit.worker.asking.test_commands import deployed, fail, started

URL = "http://127.0.0.1:9090"
BUSY = Answer(
    worker="w-\x1b[1",
    slots=Slots(4, 2),
    types=(TypeState("charge", running=1, parked=3, breaker="open", reason="no [bold]route", rate=2.5),),
    jobs=(JobState("other", "charge", 12),),
    transport="rest",
)


@pytest.fixture(autouse=True)
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker with a status page, and no kubectl."""

    async def answer(url: str) -> Answer:
        if url != URL:
            raise Away(f"{url}: refused")
        return BUSY

    monkeypatch.setattr(fleet, "page", answer)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_the_stop_comes_first_then_the_chain_then_what_is_not_known(run: Run, tmp_path: Path) -> None:
    deployed(run, tmp_path, "charge")
    one = started(run, "--business-key", "o-1")
    result = run("why", "o-1", "--page", URL)
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith("stops: http://127.0.0.1:9090 of w-\\u001b[1: BreakerOpen: runs of 'charge' fail")
    assert lines[0].endswith("no [bold]route")
    assert lines[1] == "read on in docs/troubleshooting.md#breakeropen"
    assert one in result.stdout
    assert lines[-1].startswith("not known: kubectl cannot be run")
    assert "\x1b" not in result.stdout


def test_json_has_every_part(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    deployed(run, tmp_path, "charge")
    one = started(run)
    fail(engine, "HTTP 503")
    found = json.loads(run("why", one, "--json").stdout)
    assert list(found) == ["state", "why", "page", "chain", "unknown"]
    assert found["why"] == "it has FAILED at step 'step-0': HTTP 503"
    assert found["chain"][0]["what"] == "instance"


def test_an_instance_that_has_ended_is_no_failure(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    deployed(run, tmp_path, "charge")
    one = started(run)
    engine.state.cancel(one)
    result = run("why", one, "--watch")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "ended: it was cancelled: no reason given")


def test_top_shows_each_pod_and_what_is_not_known(run: Run) -> None:
    shown = run("top", "--once", "--page", URL, "--page", "http://nowhere").stdout
    [row] = [line for line in shown.splitlines() if "of 4" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["w-\\u001b[1", URL, "ready", "2 of 4", "2.5", "12 s", "3", "charge", "–"]
    assert "not known: http://nowhere: refused" in shown
    found = json.loads(run("top", "--json", "--page", URL).stdout)
    assert found["pods"][0]["pod"]["answer"]["slots"]["busy"] == 2


def test_the_plugin_has_what_can_be_asked_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = CliRunner().invoke(plugin, ["--help"], prog_name="kubectl rochallor").stdout
    assert "Usage: kubectl rochallor [OPTIONS] COMMAND" in shown
    assert all(name in shown for name in ("why", "top", "failures", "instances", "deploy", "rollout"))
    assert "dev-engine" not in shown
    monkeypatch.setattr(sys, "argv", ["kubectl-rochallor", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.kubectl()
    assert ended.value.code == 0
