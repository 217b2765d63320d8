"""What a restarted worker knows."""

import asyncio
import resource
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job, StartError
from rochallor_worker.engine.base import ClaimedJob
from rochallor_worker.errors import AnswerLost
from rochallor_worker.journal import KEEP_SECONDS, MAX_CRASHES, Journal
from rochallor_worker.outcome import Completed, Failed, Outcome
from unit.worker.engines import FaultyEngine
from unit.worker.mortal import MortalJournal
from unit.worker.running import finished, registry_of, running, start
from waiting import until

Reopen = Callable[[], Journal]


def claimed(job_id: str = "j", retries: int = 2) -> ClaimedJob:
    return ClaimedJob(id=job_id, instance_id="i", job_type="a", retries_remaining=retries)


@pytest.fixture
def crash(tmp_path: Path) -> Reopen:
    """Opens the journal as the process after a crash would: the old one is never closed."""
    incarnations: list[MortalJournal] = []

    def reopen() -> Journal:
        if incarnations:
            incarnations[-1].die()
        incarnations.append(MortalJournal(tmp_path))
        return incarnations[-1]

    return reopen


def test_nothing_is_known_of_a_settled_job(crash: Reopen) -> None:
    journal = crash()
    journal.started(claimed())
    journal.decided(claimed(), Completed({}))
    journal.settled("j")
    assert len(crash()) == 0


def test_a_decided_complete_is_sent_again(crash: Reopen) -> None:
    journal = crash()
    journal.started(claimed())
    journal.decided(claimed(), Completed({"a": [1, None]}))
    again = crash()
    assert again.unsent_completes == [("j", "a", Completed({"a": [1, None]}))]
    assert again.recall(claimed()) == Completed({"a": [1, None]})


@pytest.mark.parametrize("outcome", [Failed("boom", retryable=True), Failed("never", retryable=False)], ids=repr)
def test_a_decided_fail_is_recalled_only_while_its_retry_is_unspent(crash: Reopen, outcome: Outcome) -> None:
    journal = crash()
    journal.started(claimed(retries=2))
    journal.decided(claimed(retries=2), outcome)
    again = crash()
    assert again.unsent_completes == []
    assert again.recall(claimed(retries=2)) == outcome
    assert again.recall(claimed(retries=1)) is None


def test_a_job_that_killed_its_worker_too_often_is_failed(crash: Reopen) -> None:
    for _ in range(MAX_CRASHES):
        journal = crash()
        assert journal.recall(claimed()) is None
        journal.started(claimed())
    assert crash().recall(claimed()) == Failed("killed its worker 3 times", retryable=False)


def test_an_orderly_end_counts_as_no_crash(tmp_path: Path) -> None:
    for _ in range(MAX_CRASHES + 1):
        journal = Journal(tmp_path)
        assert journal.recall(claimed()) is None
        journal.started(claimed())
        journal.close()
    assert len(Journal(tmp_path)) == 0


def test_an_old_entry_is_forgotten(tmp_path: Path) -> None:
    now = 1e9
    journal = Journal(tmp_path, lambda: now)
    journal.decided(claimed(), Completed({}))
    journal.close()
    now += KEEP_SECONDS + 1
    assert len(Journal(tmp_path, lambda: now)) == 0


def test_the_file_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_worker.journal.COMPACT_BYTES", 10_000)
    journal = Journal(tmp_path)
    for number in range(1000):
        journal.started(claimed(f"j{number}"))
        journal.decided(claimed(f"j{number}"), Completed({"x": "y" * 100}))
        journal.settled(f"j{number}")
    assert (tmp_path / "journal.jsonl").stat().st_size < 20_000
    journal.close()


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: a write ends there, and the next one is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_job_and_is_made_good_once_there_is_room(
    tmp_path: Path, crash: Reopen, logged: list[MutableMapping[str, Any]]
) -> None:
    journal = crash()
    journal.started(claimed("a"))
    with room((tmp_path / "journal.jsonl").stat().st_size + 10):
        journal.started(claimed("b"))  # half of its line fits
        journal.decided(claimed("b"), Completed({"x": 1}))
        assert journal.errors == 2
    with room(0):
        journal.settled("a")
        journal.settled("b")  # nothing is left to be written, which takes no room
        journal.started(claimed("b"))
        journal.decided(claimed("b"), Completed({"x": 1}))
        assert journal.errors == 5
    journal.started(claimed("c"))
    assert [entry["event"] for entry in logged] == [
        "the journal cannot be written; after a crash, jobs may run again",
        "the journal can be written again",
    ]
    again = crash()
    assert again.unsent_completes == [("b", "a", Completed({"x": 1}))]
    assert len(again) == 2


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="ROCHALLOR_JOURNAL_DIR: another worker uses"):
        _ = Journal(tmp_path), Journal(tmp_path)


def test_a_folder_that_cannot_be_is_a_start_error() -> None:
    with pytest.raises(StartError, match="ROCHALLOR_JOURNAL_DIR: cannot use '/proc/nowhere'"):
        Journal(Path("/proc/nowhere"))


def test_without_a_folder_nothing_is_kept() -> None:
    journal = Journal()
    journal.started(claimed())
    journal.decided(claimed(), Completed({}))
    assert len(journal) == 0


@pytest.mark.looptime
async def test_a_worker_delivers_what_it_decided_before_a_crash_without_running_it_again(crash: Reopen) -> None:
    engine = FaultyEngine()
    await start(engine, "a")
    [job] = await engine.poll_jobs("w", ["a"], 1)
    before = crash()
    before.started(job)
    before.decided(job, Completed({"a": 1}))

    async def a(_: Job) -> None:
        raise AssertionError("run again")

    async with running(engine, registry_of(a=a), journal=crash()):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert len(crash()) == 0


@pytest.mark.looptime
async def test_a_fail_whose_answer_was_lost_is_sent_when_the_job_comes_back_unspent(crash: Reopen) -> None:
    engine = FaultyEngine(before=lambda name, n: AnswerLost("timeout") if (name, n) == ("fail_job", 0) else None)
    await start(engine, "a")
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1
        raise ValueError("boom")

    async with running(engine, registry_of(a=a), journal=crash()):
        await until(lambda: engine.count("fail_job") == 1)
        await until(lambda: engine.state.sweep() == 1)
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
    assert runs == 1


@pytest.mark.looptime
async def test_a_poison_job_is_stopped_by_the_worker_it_kills(crash: Reopen) -> None:
    engine = FaultyEngine()
    await start(engine, "a")
    for _ in range(MAX_CRASHES):
        [job] = await engine.poll_jobs("w", ["a"], 1)
        crash().started(job)
        await until(lambda: engine.state.sweep() == 1)

    async def a(_: Job) -> None:
        raise AssertionError("run again")

    async with running(engine, registry_of(a=a), journal=crash()):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
    [instance] = engine.state.instances.values()
    assert instance.failure_reason == "killed its worker 3 times"


@pytest.mark.looptime
async def test_jobs_on_their_last_chance_run_one_at_a_time_so_that_none_is_failed_for_another(crash: Reopen) -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=3)
    for _ in range(MAX_CRASHES - 1):
        journal = crash()
        for job in await engine.poll_jobs("w", ["a"], 3):
            journal.started(job)
        await until(lambda: engine.state.sweep() == 3)
    await start(engine, "a")
    at_once = most = 0

    async def a(_: Job) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(1)
        at_once -= 1

    async with running(engine, registry_of(a=a), journal=crash()):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 4)
    assert most == 2  # a suspect, and the one that is none


def test_a_journal_that_cannot_be_replaced_costs_no_file_descriptors(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with room(0):
        journal.started(claimed())
    (tmp_path / "journal.jsonl").unlink()
    (tmp_path / "journal.jsonl").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        journal.started(claimed(f"j{number}"))
    assert journal.errors == 21
    assert len(list(Path("/proc/self/fd").iterdir())) == before
