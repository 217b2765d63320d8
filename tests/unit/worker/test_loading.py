from pathlib import Path

import pytest
from typer.testing import CliRunner

from rochallor_worker.cli import app
from rochallor_worker.errors import StartError
from rochallor_worker.loading import load_registry


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[Path, str]:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"handlers_{abs(hash(request.node.name))}"
    return tmp_path / f"{name}.py", name


def test_a_registry_is_loaded(module: tuple[Path, str]) -> None:
    path, name = module
    path.write_text("from rochallor_worker import Registry\nregistry = Registry()\n")
    assert len(load_registry(f"{name}:registry")) == 0


@pytest.mark.parametrize(
    ("source", "attribute", "sentence"),
    [
        ("", "registry", "has no 'registry'"),
        ("registry = 5", "registry", "'registry' is a int, not a Registry"),
        ("import nowhere", "registry", "cannot be imported: ModuleNotFoundError: No module named 'nowhere' ("),
        ("\nx = 1 / 0", "registry", "cannot be imported: ZeroDivisionError: division by zero ("),
        ("def broken(:", "registry", "cannot be imported: SyntaxError:"),
        ("import sys; sys.exit(3)", "registry", "cannot be imported: SystemExit: 3"),
    ],
)
def test_what_is_wrong_is_one_sentence(module: tuple[Path, str], source: str, attribute: str, sentence: str) -> None:
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
    told = "no handlers named: give the argument package.module:registry, or set ROCHALLOR_HANDLERS to it\n"
    assert (done.stderr, done.exit_code) == (told, 2)


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
