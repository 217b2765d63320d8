"""A damaged journal: the worker starts, logs one line about it, and acts only on what is certain."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import damaged, to_bytes, wrong
from logged import logged_by
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.journal import Journal
from rochallor_worker.execution.settled import Place
from rochallor_worker.outcome import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: list[dict[str, Any]] = [
    {"key": "j", "at": 1e12, "running": True},
    {"key": "j", "at": 1e12, "running": True, "crashes": 2},
    {"key": "j", "at": 1e12, "decided": True, "variables": {"x": ["ü", 1]}, "retries_remaining": 2},
    {"key": "j", "at": 1e12, "decided": True, "message": "boom", "retryable": True, "retries_remaining": 2},
    {"key": "j", "settled": True},
    {"key": "j", "at": 1e12, "settled": True, "event": "e", "places": [["t", 0, 7], ["t", 1, 0]]},
]
"""Lines that a worker writes."""
DECIDED = b'{"key":"mine","at":1e12,"decided":true,"job":"m","instance":"i","job_type":"a","variables":{"x":1}}\n'
SETTLED = b'{"key":"","at":1e12,"settled":true,"event":"e","places":[["t",0,7]]}\n'


def claimed(job_id: str = "j") -> ClaimedJob:
    return ClaimedJob(id=job_id, instance_id="i", job_type="a", retries_remaining=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


lines = st.sampled_from(STEPS).flatmap(lambda step: st.just(step) | wrong(step)).map(to_bytes)
contents = st.lists(lines | st.binary(max_size=60), max_size=5).map(lambda parts: b"\n".join([*parts, b""]))


@examples(4)
@given(content=contents | contents.flatmap(damaged))
@example(content=b"\xff")
@example(content=b'{"key":"\xff"}')
@example(content=b"[" * 100_000)
@example(content=b'{"key":"j","at":1e12,"decided":true}')
@example(content=b'{"key":"j","at":1e12,"decided":true,"variables":[1]}')
@example(content=b'{"key":"j","at":1e12,"decided":true,"variables":{"a":"\xff"}}')
@example(content=b'{"key":"","settled":true,"event":"e","places":[["t",0]]}')
@example(content=SETTLED * 2 + SETTLED.replace(b'"e"', b'"f"'))
@example(content=b"\n\xff\n" * 1000)
def test_any_content(file: Path, content: bytes) -> None:
    file.write_bytes(DECIDED + content.replace(b"mine", b"other"))
    with logged_by("rochallor_worker") as logged, closing(Journal(file.parent)) as journal:
        unreadable = [entry for entry in logged if "cannot be read" in entry["event"]]
        assert len(unreadable) <= 1
        assert journal.errors == 0
        sent_again = ClaimedJob(id="m", instance_id="i", job_type="a", step_execution_id="mine")
        assert (sent_again, Completed({"x": 1})) in journal.unconfirmed_completes
        for _, outcome in journal.unconfirmed_completes:
            to_bytes(outcome.variables)
        match journal.recall(claimed()):
            case Completed(variables):
                assert isinstance(variables, dict)
            case Failed(message, _):
                assert isinstance(message, str)
        journal.started(claimed())
        journal.decided(claimed(), Completed({"x": 2}))
        journal.settled("j", "mine", [Place("mine", 0, 7)])
        assert journal.has_settled("mine")
    with (
        logged_by("rochallor_worker") as logged,
        closing(Journal(file.parent)) as journal,
    ):  # the damage has been repaired
        assert not any("cannot be read" in entry["event"] for entry in logged)
        assert journal.recall(claimed()) is None
        assert journal.recall(claimed("mine")) == Completed({"x": 1})
        assert journal.has_settled("mine")


@examples()
@given(steps=st.lists(st.sampled_from(["started", "complete", "fail", "settled"]), max_size=8), cut=st.integers(0, 60))
def test_the_last_line_may_be_incomplete(file: Path, steps: list[str], cut: int) -> None:
    def play(steps: list[str]) -> bytes:
        file.unlink(missing_ok=True)
        with closing(Journal(file.parent)) as journal:
            act: dict[str, Callable[[], None]] = {
                "started": lambda: journal.started(claimed()),
                "complete": lambda: journal.decided(claimed(), Completed({"x": 1})),
                "fail": lambda: journal.decided(claimed(), Failed("boom", retryable=True)),
                "settled": lambda: journal.settled("j"),
            }
            for step in steps:
                act[step]()
            return file.read_bytes()

    def known(content: bytes) -> object:
        file.write_bytes(content)
        with closing(Journal(file.parent)) as journal:
            return journal.unconfirmed_completes, journal.recall(claimed())

    content = play(steps)
    *_, last = content.splitlines(keepends=True) or [b""]
    whole, without = known(content), known(content.removesuffix(last))
    assert known(content[: len(content) - min(cut, len(last))]) in (whole, without)


def test_a_file_that_cannot_be_read_is_moved_and_costs_no_job(file: Path) -> None:
    file.mkdir()
    with logged_by("rochallor_worker") as logged, closing(Journal(file.parent)) as journal:
        journal.started(claimed())
        journal.decided(claimed(), Completed({}))
        assert journal.errors == 0
    assert file.with_suffix(".unreadable").is_dir()
    assert [entry["event"] for entry in logged] == ["the journal cannot be read and is put aside"]
