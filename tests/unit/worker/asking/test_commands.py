"""The commands that ask the engine: what they print, and their exit status."""

import json
from pathlib import Path

import pytest
from rich.text import Text

from rochallor_worker.cli import output
from rochallor_worker.cli.output import Shown, present
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.errors import Unreachable
from unit.worker.asking.conftest import Run
from unit.worker.engines import definition


def deployed(run: Run, folder: Path, *job_types: str) -> None:
    file = folder / "d.json"
    file.write_text(json.dumps(definition(*job_types)))
    result = run("deploy", file)
    assert (result.exit_code, result.stdout) == (0, f"{file}: d version 1\n")


def started(run: Run, *words: str) -> str:
    result = run("instances", "start", "d", *words)
    assert result.exit_code == 0
    return str(result.stdout.strip())


def fail(engine: FakeEngine, message: str) -> None:
    [job] = engine.state.poll("w", ["charge"], 1)
    engine.state.fail(job.id, "w", message, retryable=False)


def test_an_instance_from_its_start_to_its_end(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    deployed(run, tmp_path, "charge")
    (tmp_path / "v.json").write_text('{"n": 2}')
    first = started(run, "--variables", '{"n": 1}', "--business-key", "o-1")
    second = started(run, "--variables", f"@{tmp_path / 'v.json'}")
    listed = json.loads(run("instances", "list", "--json").stdout)
    assert [one["variables"] for one in listed["items"]] == [{"n": 2}, {"n": 1}]
    assert first in run("instances", "list", "--business-key", "o-1").stdout
    assert json.loads(run("instances", "show", "o-1", "--json").stdout)["id"] == first
    assert '"n": 2' in run("instances", "show", second).stdout
    assert run("instances", "cancel", first, "--reason", "no more").stdout == f"{first}: cancelled\n"
    assert engine.state.instances[first].failure_reason == "no more"
    assert "no more" in run("instances", "list", "--status", "cancelled").stdout
    assert "SERVICE_TASK" in run("instances", "history", second).stdout


def test_failures_are_shown_and_retried_only_when_asked(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    deployed(run, tmp_path, "charge")
    assert run("failures").stdout == "no failures\n"
    for message in ("order 10001 not found", "order 10002 not found", "HTTP \x1b[31m503"):
        started(run)
        fail(engine, message)
    shown = run("failures", "--since", "1h", "--type", "charge")
    assert [line.split()[1] for line in shown.stdout.splitlines() if "step-0" in line] == ["2", "1"]
    assert "\x1b" not in shown.stdout
    assert json.loads(run("failures", "--json", "--message", "503").stdout)[0]["jobType"] == "charge"
    refused = run("failures", "--retry", "--message", "order", input="n\n")
    assert refused.exit_code == 1
    assert "Run these 2 again, 10 a second, in about 0 s?" in refused.stdout
    assert {one.status for one in engine.state.instances.values()} == {"FAILED"}
    assert "2 of 2 retried" in run("failures", "--retry", "--message", "order", input="y\n").stdout
    assert "Run this one again? [y/N]" in run("failures", "--retry", input="n\n").stdout
    assert "1 of 1 retried" in run("failures", "--retry", "--yes").stdout
    assert {one.status for one in engine.state.instances.values()} == {"ACTIVE"}


def test_one_instance_is_retried_with_other_variables(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    deployed(run, tmp_path, "charge")
    one = started(run, "--variables", '{"n": 1}')
    fail(engine, "x")
    result = run("instances", "retry", one, "--variables", '{"n": 2}')
    assert (result.exit_code, result.stdout) == (0, "1 of 1 retried\n")
    assert engine.state.instances[one].variables == {"n": 2}
    again = run("instances", "retry", one)
    assert again.exit_code == 1
    assert "not retried" in again.stderr


def test_a_generation_without_retries_says_so(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.state.generation = "A"
    deployed(run, tmp_path, "charge")
    started(run)
    fail(engine, "x")
    result = run("failures", "--retry", "--yes")
    assert result.exit_code == 1
    assert "0 of 1 retried" in result.stdout
    assert "cannot run a step again (generation A): start other instances" in result.stderr


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("instances", "show", "nope"), 1, "no instance has the id or the business key 'nope'"),
        (("instances", "cancel", "nope"), 1, "nope: not cancelled: no running instance has this id\n"),
        (("instances", "retry", "nope"), 1, "nope: not retried: no instance has this id\n"),
        (("instances", "start", "nope"), 1, "the engine has no definition 'nope': check its spelling, or deploy it\n"),
        (("instances", "list", "--definition", "nope"), 1, "the engine has no definition 'nope'"),
        (("failures", "--definition", "nope"), 1, "the engine has no definition 'nope'"),
        (("instances", "start", "d", "--variables", "[1]"), 2, "must be a JSON object, or @FILE"),
        (("instances", "start", "d", "--variables", "@/nowhere"), 2, "'/nowhere' cannot be read: No such file"),
        (("failures", "--since", "soon"), 2, "--since 'soon' is not valid: must be a duration"),
        (("failures", "--retry", "--json"), 2, "exclude each other"),
        (("deploy", "/nowhere"), 2, "definition '/nowhere' cannot be read: No such file"),
    ],
)
def test_a_mistake_is_one_line(run: Run, words: tuple[str, ...], status: int, text: str) -> None:
    result = run(*words)
    assert result.exit_code == status
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_bad_setting_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_PARALLELISM", "many")
    result = run("instances", "list")
    assert result.exit_code == 2
    assert result.stderr.startswith("ROCHALLOR_PARALLELISM='many' is not valid")


def test_job_types_without_a_handler_keep_a_definition_back(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = (
        "from rochallor_worker import Registry\nregistry = Registry()\nregistry.handler('charge')(lambda job: None)\n"
    )
    (tmp_path / "deploys_handlers.py").write_text(code)
    file = tmp_path / "d.json"
    file.write_text(json.dumps(definition("charge", "mail")))
    result = run("deploy", file, "--handlers", "deploys_handlers:registry")
    assert result.exit_code == 1
    assert "job type 'mail' has no handler" in result.stderr
    assert engine.state.definitions.list()[1] == 0
    file.write_text(json.dumps(definition("charge")))
    assert run("deploy", file, "--handlers", "deploys_handlers:registry").exit_code == 0


def test_a_watched_instance_is_shown_until_its_end(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WATCH_SECONDS", 0)
    deployed(run, tmp_path, "charge")
    one = started(run)
    looks = 0
    answer = engine.call

    async def end_at_the_third_look(name: str, action: object) -> object:
        nonlocal looks
        looks += 1
        if looks == 3:
            engine.state.cancel(one)
        return await answer(name, action)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "call", end_at_the_third_look)
    lines = run("instances", "show", one, "--json", "--watch").stdout.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ACTIVE", "CANCELLED"]


async def test_a_watch_without_a_first_answer_ends() -> None:
    async def look() -> Shown:
        raise Unreachable("away")

    with pytest.raises(Unreachable):
        await present(look, as_json=False, again=True)


async def test_a_watch_survives_an_engine_that_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "WATCH_SECONDS", 0)
    answers: list[Shown | Exception] = [
        Shown(Text("one"), 1),
        Unreachable("away"),
        Shown(Text("two"), 2, final=True),
    ]

    async def look() -> Shown:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    await present(look, as_json=False, again=True)
    assert capsys.readouterr().out.split() == ["one", "away", "two"]
