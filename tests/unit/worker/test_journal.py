"""What a restarted worker remembers."""

import asyncio
import resource
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job, StartError
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import AnswerLost
from rochallor_worker.execution.journal import KEEP_SECONDS, MAX_CRASHES, Journal
from rochallor_worker.outcome import Completed, Failed, Outcome
from unit.worker.engines import FaultyEngine
from unit.worker.killable import KillableJournal
from unit.worker.running import finished, registry_of, running, start
from unit.worker.test_journal_file import open_files
from waiting import until

Reopen = Callable[[], Journal]


def claimed(key: str = "k", job_id: str = "j", retries: int = 2) -> ClaimedJob:
    return ClaimedJob(id=job_id, step_execution_id=key, instance_id="i", job_type="a", retries_remaining=retries)


@pytest.fixture
def crash(tmp_path: Path) -> Reopen:
    """Opens the journal like the process after a crash: the old one is never closed."""
    incarnations: list[KillableJournal] = []

    def reopen() -> Journal:
        if incarnations:
            incarnations[-1].kill()
        incarnations.append(KillableJournal(tmp_path))
        return incarnations[-1]

    return reopen


def test_a_settled_job_is_forgotten(crash: Reopen, tmp_path: Path) -> None:
    journal = crash()
    journal.started(claimed())
    journal.decided(claimed(), Completed({}))
    journal.settled("k")
    assert len(crash()) == 0
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


def test_a_decided_complete_is_sent_again(crash: Reopen) -> None:
    journal = crash()
    journal.started(claimed())
    journal.decided(claimed(), Completed({"a": [1, None]}))
    again = crash()
    assert [(job.id, job.key, outcome) for job, outcome in again.unconfirmed_completes] == [
        ("j", "k", Completed({"a": [1, None]}))
    ]
    assert again.recall(claimed()) == Completed({"a": [1, None]})


@pytest.mark.parametrize("outcome", [Failed("boom", retryable=True), Failed("never", retryable=False)], ids=repr)
def test_a_decided_fail_is_recalled_only_while_its_retry_is_unspent(crash: Reopen, outcome: Outcome) -> None:
    journal = crash()
    journal.started(claimed(retries=2))
    journal.decided(claimed(retries=2), outcome)
    again = crash()
    assert again.unconfirmed_completes == []
    assert again.recall(claimed(retries=2)) == outcome
    assert again.recall(claimed(retries=1)) is None


def test_a_job_that_killed_its_worker_too_often_is_failed(crash: Reopen) -> None:
    for _ in range(MAX_CRASHES):
        journal = crash()
        assert journal.recall(claimed()) is None
        journal.started(claimed())
    assert crash().recall(claimed()) == Failed("killed its worker 3 times", retryable=False)


def test_an_orderly_end_does_not_count_as_a_crash(tmp_path: Path) -> None:
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
    monkeypatch.setattr("rochallor_worker.execution.journal_file.COMPACT_BYTES", 10_000)
    journal = Journal(tmp_path)
    for number in range(1000):
        journal.started(claimed(f"j{number}"))
        journal.decided(claimed(f"j{number}"), Completed({"x": "y" * 100}))
        journal.settled(f"j{number}")
    assert (tmp_path / "journal.jsonl").stat().st_size < 20_000
    journal.close()


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond this many bytes: a write ends there, and the next one is refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_job_and_the_file_is_rewritten_once_there_is_room(
    tmp_path: Path, crash: Reopen, logged: list[MutableMapping[str, Any]]
) -> None:
    journal = crash()
    journal.started(claimed("a", "a"))
    with room((tmp_path / "journal.jsonl").stat().st_size + 10):
        journal.started(claimed("b", "b"))  # half of its line fits
        journal.decided(claimed("b", "b"), Completed({"x": 1}))
        assert journal.errors == 2
    with room(0):
        journal.settled("a")
        journal.settled("b")  # nothing is left to be written, and that fits
        journal.started(claimed("b", "b"))
        journal.decided(claimed("b", "b"), Completed({"x": 1}))
        assert journal.errors == 5
    journal.started(claimed("c", "c"))
    assert [entry["event"] for entry in logged] == [
        "the journal cannot be written; after a crash, jobs may run again",
        "the journal can be written again",
    ]
    again = crash()
    assert [(job.id, outcome) for job, outcome in again.unconfirmed_completes] == [("b", Completed({"x": 1}))]
    assert len(again) == 2


def test_the_file_is_readable_for_its_owner_only_and_follows_no_link(tmp_path: Path) -> None:
    """It holds variables of jobs."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "journal.new").symlink_to(elsewhere)
    journal = Journal(folder)
    assert elsewhere.read_text() == "mine"
    assert journal.errors == 1
    (folder / "journal.new").unlink()
    journal.decided(claimed(), Completed({"card": "4111"}))
    assert (folder / "journal.jsonl").stat().st_mode & 0o777 == 0o600
    journal.close()


def test_of_a_line_that_cannot_be_read_only_its_length_is_logged(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    (tmp_path / "journal.jsonl").write_text('{"key": "k", "variables": {"card": "4111"}')
    Journal(tmp_path).close()
    [line] = logged
    assert (line["lines"], line["bytes"]) == (1, 42)
    assert "4111" not in str(line)


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="ROCHALLOR_JOURNAL_DIR: another worker uses"):
        _ = Journal(tmp_path), Journal(tmp_path)


def test_a_folder_that_cannot_be_used_is_a_start_error() -> None:
    with pytest.raises(StartError, match="ROCHALLOR_JOURNAL_DIR: cannot use '/proc/nowhere'"):
        Journal(Path("/proc/nowhere"))


def test_without_a_folder_nothing_is_kept() -> None:
    journal = Journal()
    journal.started(claimed())
    journal.decided(claimed(), Completed({}))
    assert len(journal) == 0


@pytest.mark.parametrize("retries", [2, 1])
def test_a_complete_is_recalled_whatever_retries_were_spent_meanwhile(crash: Reopen, retries: int) -> None:
    crash().decided(claimed(retries=2), Completed({"x": 1}))
    assert crash().recall(claimed(retries=retries)) == Completed({"x": 1})


def test_a_crash_counts_once_for_each_job_that_ran_then(crash: Reopen, logged: list[MutableMapping[str, Any]]) -> None:
    journal = crash()
    for key in ("ran", "decided", "ended"):
        journal.started(claimed(key))
    journal.decided(claimed("decided"), Completed({}))
    journal.ended(claimed("ended"))
    for _ in range(MAX_CRASHES + 1):
        journal = crash()
    assert [(line["key"], line["times"]) for line in logged] == [("ran", 1)]
    assert journal.recall(claimed("ran")) is None
    assert len(journal) == 2  # the one that ended without an outcome is forgotten


def test_a_job_is_a_suspect_only_before_its_last_chance(crash: Reopen) -> None:
    suspected: list[bool] = []
    for _ in range(MAX_CRASHES + 1):
        journal = crash()
        suspected.append(journal.suspects("k"))
        journal.started(claimed())
    assert suspected == [False, False, True, False]
    assert not journal.suspects("another")


def test_a_suspect_with_a_decided_outcome_is_no_longer_one(crash: Reopen) -> None:
    for _ in range(2):
        crash().started(claimed())
    journal = crash()
    assert journal.suspects("k")
    journal.decided(claimed(), Completed({}))
    assert not journal.suspects("k")


def test_a_job_that_outran_its_lease_too_often_is_failed(tmp_path: Path) -> None:
    """An overrun counts even without a folder; with one, it counts across a restart."""
    for folder in (None, tmp_path):
        journal = Journal(folder)
        for _ in range(3):
            assert journal.recall(claimed()) is None
            journal.overran(claimed())
            if folder is not None:
                journal.close()
                journal = Journal(folder)
        outcome = journal.recall(claimed())
        assert isinstance(outcome, Failed)
        assert outcome.message.startswith("ran past its lease 3 times, and this engine cannot renew leases: ")
        assert not outcome.retryable
        journal.close()


def test_a_job_that_outran_its_lease_still_runs(crash: Reopen, logged: list[MutableMapping[str, Any]]) -> None:
    crash().overran(claimed())
    crash()
    assert [line["key"] for line in logged] == ["k"]


@pytest.mark.parametrize(("hours", "kept"), [(23.9, 1), (24, 0)])
def test_a_job_is_remembered_for_a_day(tmp_path: Path, hours: float, kept: int) -> None:
    now = 1e9
    journal = Journal(tmp_path, lambda: now)
    journal.decided(claimed(), Completed({}))
    journal.close()
    now += hours * 3600
    assert len(Journal(tmp_path, lambda: now)) == kept


def test_the_oldest_of_more_than_ten_thousand_jobs_is_forgotten() -> None:
    journal = Journal()
    for number in range(10_000):
        journal.keep(claimed(f"k{number}"), Completed({}))
    assert len(journal) == 10_000
    journal.keep(claimed("one more"), Completed({}))
    assert len(journal) == 10_000
    assert journal.recall(claimed("k0")) is None
    assert journal.recall(claimed("k1")) == Completed({})


def test_the_oldest_of_more_than_64_mib_of_outcomes_is_forgotten() -> None:
    journal = Journal()
    quarter = Completed({"x": "y" * (16 * 1024 * 1024 - len('{"x":""}'))})
    for number in range(4):
        journal.keep(claimed(f"k{number}"), quarter)
    assert len(journal) == 4
    journal.keep(claimed("one more"), Failed("no variables, no size", retryable=True))
    assert len(journal) == 5
    journal.keep(claimed("two more"), Completed({}))
    assert [journal.recall(claimed(key)) is None for key in ("k0", "k1", "one more")] == [True, False, False]


def test_outcomes_that_are_replaced_or_settled_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_worker.execution.journal.KEEP_BYTES", 40)
    journal = Journal()
    for key in ("first", "again", "again", "again"):
        journal.keep(claimed(key), Completed({"x": 1}))
    for key in ("settled", "settled"):
        journal.keep(claimed(key), Completed({"x": 1}))
        journal.settled(key)
    for number in range(3):
        journal.keep(claimed(f"k{number}"), Completed({"x": 1}))
    assert journal.recall(claimed("first")) == Completed({"x": 1})
    journal.keep(claimed("one more"), Completed({"x": 1}))
    assert journal.recall(claimed("first")) is None


def test_jobs_in_flight_are_not_forgotten_for_lack_of_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_worker.execution.journal.KEEP_ENTRIES", 2)
    journal = KillableJournal(tmp_path)
    for _ in range(2):
        journal.started(claimed("runs"))
        for number in range(3):
            journal.keep(claimed(f"k{number}"), Completed({}))
        journal.kill()
        journal = KillableJournal(tmp_path)
    assert journal.suspects("runs")
    journal.close()


def test_nothing_is_written_for_an_unknown_job(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.settled("k")
    journal.ended(claimed())
    assert (tmp_path / "journal.jsonl").read_bytes() == b""
    assert len(journal) == 0
    journal.close()


def test_a_closed_journal_is_left_alone(tmp_path: Path, logged: list[MutableMapping[str, Any]]) -> None:
    """The next process may use the folder, while handlers that were cut off still end in this one."""
    journal = Journal(tmp_path)
    journal.started(claimed())
    journal.close()
    journal.overran(claimed())
    journal.close()
    assert (tmp_path / "journal.jsonl").read_bytes() == b""
    assert (journal.errors, logged) == (0, [])


def test_an_outcome_that_cannot_be_read_is_dropped(tmp_path: Path, logged: list[MutableMapping[str, Any]]) -> None:
    (tmp_path / "journal.jsonl").write_text('{"key":"k","at":1e12,"decided":true,"variables":[1]}\n')
    journal = Journal(tmp_path)
    assert journal.unconfirmed_completes == []
    assert [line["lines"] for line in logged] == [1]
    journal.close()


def test_without_a_folder_kept_outcomes_are_in_memory() -> None:
    journal = Journal()
    journal.keep(claimed(), Completed({"x": 1}))
    journal.decided(claimed(), Completed({"x": 2}))
    assert journal.recall(claimed()) == Completed({"x": 2})
    assert journal.errors == 0
    journal.close()


@pytest.mark.looptime
async def test_a_worker_reports_what_it_decided_before_a_crash_without_running_it_again(crash: Reopen) -> None:
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
async def test_a_fail_whose_answer_was_lost_is_sent_when_the_job_is_redelivered_with_its_retry_unspent(
    crash: Reopen,
) -> None:
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
    assert most == 2  # one suspect, and the job that is not one


def test_a_journal_that_cannot_be_replaced_costs_no_file_descriptors(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with room(0):
        journal.started(claimed())
    (tmp_path / "journal.jsonl").unlink()
    (tmp_path / "journal.jsonl").mkdir()
    before = open_files(tmp_path)
    for number in range(20):
        journal.started(claimed(f"j{number}"))
    assert journal.errors == 21
    assert open_files(tmp_path) == before
