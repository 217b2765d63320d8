from pathlib import Path

import pytest
from typer.testing import CliRunner

from rochallor_worker.cli.main import app
from rochallor_worker.errors import StartError
from rochallor_worker.handlers.loading import load_registry

REGISTRY = "from rochallor_worker import Registry\nregistry = Registry()\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[Path, str]:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"handlers_{abs(hash(request.node.name))}"
    return tmp_path / f"{name}.py", name


def test_a_registry_is_loaded(module: tuple[Path, str]) -> None:
    path, name = module
    path.write_text(f"{REGISTRY}@registry.handler('a')\ndef a(job): ...\n")
    assert load_registry(f"{name}:registry").job_types == ["a"]


@pytest.mark.parametrize(
    ("source", "attribute", "sentence"),
    [
        ("", "registry", "has no 'registry'"),
        ("registry = 5", "registry", "'registry' is a int, not a Registry"),
        ("import nowhere", "registry", "cannot be imported: ModuleNotFoundError: No module named 'nowhere' ("),
        ("\nx = 1 / 0", "registry", "cannot be imported: ZeroDivisionError: division by zero ("),
        ("def broken(:", "registry", "cannot be imported: SyntaxError:"),
        ("import sys; sys.exit(3)", "registry", "cannot be imported: SystemExit: 3"),
        (REGISTRY, "registry", "the registry has no handler; register at least one with @registry.handler(job_type)"),
    ],
)
def test_what_is_wrong_is_one_line(module: tuple[Path, str], source: str, attribute: str, sentence: str) -> None:
    path, name = module
    path.write_text(source)
    with pytest.raises(StartError) as raised:
        load_registry(f"{name}:{attribute}")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_line_of_the_users_file_is_named(module: tuple[Path, str]) -> None:
    path, name = module
    path.write_text("\n\nraise RuntimeError('boom')\n")
    with pytest.raises(StartError, match=rf"RuntimeError: boom \({path.name}, line 3\)"):
        load_registry(f"{name}:registry")


def test_check_without_handlers_says_where_to_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROCHALLOR_HANDLERS", raising=False)
    done = CliRunner().invoke(app, ["check"])
    message = "no handlers named: give the argument package.module:registry, or set ROCHALLOR_HANDLERS to it\n"
    assert (done.stderr, done.exit_code) == (message, 2)


@pytest.mark.parametrize("reference", ["", "handlers", ":registry", "handlers:"])
def test_a_reference_names_module_and_registry(reference: str) -> None:
    with pytest.raises(StartError, match=r"package\.module:registry"):
        load_registry(reference)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(StartError, match="ModuleNotFoundError: No module named 'nowhere_at_all'"):
        load_registry("nowhere_at_all:registry")


def test_what_looks_like_markup_is_listed_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from rochallor_worker import Registry\nregistry = Registry()\nregistry.handler('mail[eu][/]')(print)\n"
    (tmp_path / "marked_up.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    done = CliRunner().invoke(app, ["check", "marked_up:registry"])
    assert "mail[eu][/]" in done.output
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "@registry.handler('a')\ndef first(job): ...\n@registry.handler('a')\ndef second(job): ...\n",
            "job type 'a' has two handlers, first ({file}, line 3) and second ({file}, line 5); only one is possible "
            "({file}, line 5)",
        ),
        (
            "@registry.handler\ndef first(job): ...\n",
            "a job type is a non-empty string, not first ({file}, line 3): write "
            '@registry.handler("job-type") ({file}, line 3)',
        ),
        (
            "@registry.handler('a')\ndef first(): ...\n",
            "job type 'a': first ({file}, line 3) cannot be called with one argument, the job ({file}, line 3)",
        ),
        (
            "@registry.handler('a')\nasync def first(job):\n    yield {}\n",
            "job type 'a': first ({file}, line 3) yields; a handler returns its result ({file}, line 3)",
        ),
    ],
)
def test_an_error_of_a_handler_names_the_users_file_and_line(
    module: tuple[Path, str], source: str, sentence: str
) -> None:
    path, name = module
    path.write_text(REGISTRY + source)
    with pytest.raises(StartError) as raised:
        load_registry(f"{name}:registry")
    assert str(raised.value).endswith(f"ValueError: {sentence}".replace("{file}", path.name))


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ROCHALLOR_PARALLELISM", "many", "ROCHALLOR_PARALLELISM='many' is not valid: must be a whole number"),
        ("ROCHALLOR_JOB_TYPES", "a,b", "no handler for job type 'b' (ROCHALLOR_JOB_TYPES); registered: a"),
    ],
)
def test_check_sees_what_run_will_refuse(
    module: tuple[Path, str], variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, name = module
    path.write_text(f"{REGISTRY}@registry.handler('a')\ndef a(job): ...\n")
    monkeypatch.setenv(variable, value)
    done = CliRunner().invoke(app, ["check", f"{name}:registry"])
    assert done.exit_code == 2
    assert done.stderr.startswith(sentence)


def test_check_warns_of_a_variable_that_is_not_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "misspelt.py").write_text("""
from rochallor_worker import Registry
registry = Registry()
@registry.handler("a")
def a(_): ...
""")
    monkeypatch.setenv("ROCHALLOR_PARALLELLISM", "4")
    done = CliRunner().invoke(app, ["check", "misspelt:registry"])
    assert done.exit_code == 0, done.output
    assert done.stderr == "ROCHALLOR_PARALLELLISM is not a setting and is ignored: check its spelling\n"
