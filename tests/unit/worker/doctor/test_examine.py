"""What the doctor finds in settings, handlers and the journal's folder, without an engine."""

from pathlib import Path

import pytest

from rochallor_worker.cli.settings import load
from rochallor_worker.doctor.examine import check_handlers, check_journal, examine

CODE = """
from rochallor_worker import Job, Registry
registry = Registry()
empty = Registry()

@registry.handler("a")
def a(job: Job) -> None: ...

@registry.handler("b")
def b(job: Job) -> None: ...
"""


@pytest.fixture(autouse=True)
def _handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "doctors_handlers.py").write_text(CODE)


def test_handlers_are_counted_and_named() -> None:
    job_types, found = check_handlers(load(handlers="doctors_handlers:registry"))
    assert job_types == ["a", "b"]
    assert (found.state, found.found) == ("ok", "2 job types: a, b")


@pytest.mark.parametrize(
    ("reference", "types", "text"),
    [
        (None, "", "no handlers named"),
        ("nowhere:registry", "", "cannot be imported: ModuleNotFoundError"),
        ("doctors_handlers:empty", "", "has no handler"),
        ("doctors_handlers:registry", "a,c,d", "no handler for job type 'c', 'd' (ROCHALLOR_JOB_TYPES)"),
    ],
)
def test_handlers_that_cannot_be_used(reference: str | None, types: str, text: str) -> None:
    _, found = check_handlers(load(handlers=reference, job_types=types))
    assert found.state == "failed"
    assert text in found.found


def test_the_journals_folder_is_left_as_it_was(tmp_path: Path) -> None:
    there, missing = tmp_path / "there", tmp_path / "not" / "yet"
    there.mkdir()
    assert check_journal(load(journal_dir=str(there))).found.endswith("there can be written")
    assert check_journal(load(journal_dir=str(missing))).found.endswith("yet can be created")
    assert list(there.iterdir()) == []
    assert not missing.exists()
    assert check_journal(load()).state == "note"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    found = check_journal(load(journal_dir=str(file / "journal")))
    assert found.state == "failed"
    assert "Not a directory" in found.found


def test_a_bad_setting_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_PARALLELISM", "many")
    [found] = examine()
    assert (found.check, found.state) == ("settings", "failed")
    assert "ROCHALLOR_PARALLELISM='many' is not valid" in found.found


def test_each_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_PARALLELLISM", "4")
    monkeypatch.setenv("ROCHALLOR_TRANSPORT", "kafka")
    found = {row.check: row for row in examine("doctors_handlers:registry")}
    assert found["settings"].found == "ROCHALLOR_PARALLELLISM is not a setting and is ignored"
    assert (found["engine"].state, found["Kafka"].state) == ("failed", "failed")
    assert "ROCHALLOR_ENGINE_URL is not set" in found["engine"].found
    assert "ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS is not set" in found["Kafka"].found
    assert (found["handlers"].state, found["journal"].state) == ("ok", "note")
