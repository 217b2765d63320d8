"""What `check` shows of handlers, alone and beside a definition."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rochallor_worker.cli.main import app

HANDLERS = """
from dataclasses import dataclass
from rochallor_worker import Job, Registry

registry = Registry()

@dataclass
class Charge:
    amount: int
    note: str = ""

@dataclass
class Charged:
    receipt: str

@dataclass
class Mail:
    receipt: str
    address: str

@registry.handler("charge[eu]")
def charge(order: Charge) -> Charged: ...

@registry.handler("mail")
async def mail(mail: Mail, job: Job) -> None: ...

@registry.handler("old")
def old(job): ...
"""


@pytest.fixture(autouse=True)
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"checked_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(HANDLERS)
    return f"{name}:registry"


def task(step_id: str, job_type: str = "", **fields: Any) -> dict[str, Any]:
    return {"id": step_id, "name": step_id, "type": "SERVICE_TASK", "jobType": job_type, **fields}


def check(handlers: str, tmp_path: Path, *steps: dict[str, Any], **fields: Any) -> Result:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps({"id": "w", "name": "W", "steps": steps, **fields}))
    return CliRunner().invoke(app, ["check", handlers, "--definition", str(path)])


def remarks(done: Result, tmp_path: Path) -> list[str]:
    prefix = f"{tmp_path / 'workflow.json'}: "
    return [line.removeprefix(prefix) for line in done.stdout.splitlines() if line.startswith(prefix)]


def test_the_input_of_each_handler_is_shown_as_a_schema(handlers: str) -> None:
    done = CliRunner().invoke(app, ["check", handlers])
    assert done.exit_code == 0
    _, charge, mail = done.stdout.split("input of ")
    assert charge.startswith("charge[eu]: {")
    schema = json.loads(charge.partition(": ")[2])
    assert schema["$defs"]["Charge"]["properties"]["amount"] == {"type": "integer"}
    assert mail.startswith("mail: {")


SCHEMA = {"type": "object", "properties": {"amount": {}, "address": {}}}
MAIL = task("send", "mail")
CHARGE = task("pay", "charge[eu]")
AT_START = "give it to instances when they start"
OPEN = "(what these return is not declared: "


@pytest.mark.parametrize(
    ("steps", "fields", "expected", "status"),
    [
        ([CHARGE, MAIL], {"input_schema": SCHEMA}, [], 0),
        (
            [CHARGE, MAIL],
            {},
            [
                f"step 'pay': no step provides the variable 'amount' of charge[eu]; {AT_START}",
                f"step 'send': no step provides the variable 'address' of mail; {AT_START}",
            ],
            0,
        ),
        ([MAIL], {"input_schema": SCHEMA}, ["step 'send': no step provides the variable 'receipt' of mail"], 1),
        (
            [MAIL, task("o", "old")],
            {"input_schema": SCHEMA},
            [f"step 'send': no step provides the variable 'receipt' of mail {OPEN}'o')"],
            0,
        ),
        (
            [MAIL, {"id": "u", "name": "u", "type": "USER_TASK"}, {"id": "t", "name": "t", "type": "WAIT"}],
            {"input_schema": SCHEMA},
            [f"step 'send': no step provides the variable 'receipt' of mail {OPEN}'u', 't')"],
            0,
        ),
        ([MAIL, task("n", "new")], {"input_schema": {}}, ["step 'n': job type 'new' has no handler", ...], 1),
        ([task("mail")], {"input_schema": {"properties": {"address": {}, "receipt": {}}}}, [], 0),
        (
            [MAIL, {"id": "t", "name": "t", "type": "TRANSFORMATION", "transformations": {"receipt": "${a}"}}],
            {"input_schema": SCHEMA},
            [],
            0,
        ),
        (
            [MAIL, task("o", "old", outputs_schema={"properties": {"receipt": {}}})],
            {"input_schema": SCHEMA},
            [],
            0,
        ),
        (
            [
                MAIL,
                {
                    "id": "d",
                    "name": "d",
                    "type": "DECISION_TABLE",
                    "decisionTable": {"rules": [{"outputs": {"receipt": 1}}]},
                },
            ],
            {"input_schema": SCHEMA},
            [],
            0,
        ),
    ],
)
def test_a_definition_is_compared_with_the_handlers(
    handlers: str, tmp_path: Path, steps: list[Any], fields: dict[str, Any], expected: list[Any], status: int
) -> None:
    done = check(handlers, tmp_path, *steps, **fields)
    found = remarks(done, tmp_path)
    if expected[-1:] == [...]:
        assert found[: len(expected) - 1] == expected[:-1]
    else:
        assert found == expected
    assert done.exit_code == status


def test_a_type_that_this_worker_does_not_serve_has_no_handler_here(
    handlers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROCHALLOR_JOB_TYPES", "mail")
    done = check(handlers, tmp_path, task("o", "old"))
    assert remarks(done, tmp_path) == ["step 'o': job type 'old' has no handler"]
    assert "input of charge" not in done.stdout


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file"), ("{", "is not valid: "), ('{"steps": 5}', "is not valid: ")],
)
def test_a_definition_that_cannot_be_read_is_one_line(
    handlers: str, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(app, ["check", handlers, "--definition", str(path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"definition {str(path)!r} {reason}")
    assert done.stderr.count("\n") == 1


def test_limits_that_run_would_refuse_are_refused(handlers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_LIMITS", '[{"jobType": "chargecard", "parallelism": 8}]')
    done = CliRunner().invoke(app, ["check", handlers])
    assert done.exit_code == 2
    assert done.stderr.startswith("there are limits for job type 'chargecard', which has no handler; registered: ")
