"""The state file: what an engine goes on from, and what is refused."""

import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rochallor_worker.devengine import state_file, wire
from rochallor_worker.devengine.errors import CallError, InternalError
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import Generation
from rochallor_worker.devengine.state_file import StateFile
from rochallor_worker.errors import StartError
from unit.devengine.conftest import Clock, upload
from unit.devengine.definitions import decide, definition, fork, join, step, task, timer

LOAN = definition(
    *(fork("both", "joined", "a", "b"), task("a", "joined", retryCount=1), task("b", "joined"), join("joined", "ask")),
    step(
        "ask",
        "USER_TASK",
        nextStep="signed",
        boundaryEvents=[timer("remind", "PT20S"), timer("signed", "PT60S", interrupting=True)],
    ),
    task("remind", "signed"),
    step("signed", "WAIT", nextStep="enough?"),
    decide("enough?", c="x > 1", end="x <= 1"),
    task("c"),
    id="loan",
    autoStartNextWorkflow=True,
    nextWorkflowId="payout",
)
PAYOUT = definition(task("pay", retryCount=2), id="payout")
JOB_TYPES = ["a", "b", "c", "pay", "remind"]
ULID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")


@contextmanager
def kept(path: Path, **options: Any) -> Iterator[tuple[EngineState, StateFile]]:
    """An engine's state with its file, as after a start; the end of the block is a kill: nothing more is written."""
    with state_file.opened(path) as file:
        state = EngineState(changed=file.changed, **options)
        file.restore(state)
        yield state, file


def seen(state: EngineState) -> str:
    """Everything that calls answer, with the jobs that no call shows."""
    instances = list(state.list_instances(page_size=200)[0])
    return text(
        [
            [wire.definition_json(*entry) for entry in state.definitions.list(page_size=200)[0]],
            [wire.instance_json(instance) for instance in instances],
            [[wire.execution_json(entry) for entry in instance.history] for instance in instances],
            [(wire.job_json(job), job.number) for job in state.jobs.values()],
        ]
    )


def text(answer: Any) -> str:
    """An answer with numbers, in order of appearance, for the ids: they are drawn by chance."""
    numbers: dict[str, int] = {}
    return ULID.sub(lambda found: f"#{numbers.setdefault(found[0], len(numbers))}", wire.encode(answer).decode())


def nth(records: dict[str, Any], number: int) -> str:
    return list(records)[number % len(records)] if records else "none"


VARIABLES: list[dict[str, Any]] = [
    {"x": 0},
    {"x": 2, "y": "ü\u2028"},
    {"x": 1.5},
    {"x": int(2.0**70)},
    {"x": -0.0, "y": [None, {"z": 1e-7}]},
]
CALLS: dict[str, Callable[[EngineState, int, int], Any]] = {
    "upload": lambda state, n, m: upload(state, (LOAN, PAYOUT)[n % 2] | {"name": "NM"[m % 2]}),
    "start": lambda state, n, m: wire.instance_json(
        state.start(("loan", "payout", "none")[n % 3], 0, VARIABLES[m % 5], "k" * (n % 2))
    ),
    "poll": lambda state, n, m: [wire.job_json(job) for job in state.poll("vw"[n % 2], JOB_TYPES[m % 5 :], 1 + n % 3)],
    "complete": lambda state, n, m: state.complete(nth(state.jobs, n), "vw"[m % 2], VARIABLES[m % 5]),
    "fail": lambda state, n, m: state.fail(nth(state.jobs, n), "vw"[m % 2], "boom", retryable=m > 1),
    "extend": lambda state, n, m: wire.job_json(state.extend_lease(nth(state.jobs, n), "vw"[m % 2], 60)),
    "cancel": lambda state, n, _: wire.instance_json(state.cancel(nth(state.instances, n), "why")),
    "retry": lambda state, n, m: wire.instance_json(
        state.retry_step(nth(state.instances, n), JOB_TYPES[m % 5], VARIABLES[1])
    ),
    "approve": lambda state, n, m: state.complete_user_task(nth(state.instances, n), "ask", VARIABLES[m % 5]),
    "sign": lambda state, n, m: state.signal_wait(nth(state.instances, n), "signed", VARIABLES[m % 5]),
}
"""Calls, valid or not, by two numbers."""
USUAL = [("start", 0, 1), ("poll", 2, 0), ("poll", 2, 0), ("complete", 0, 0), ("complete", 1, 0)]
"""As far as the user task."""
RESTART = ("restart", 0, 0)
small = st.integers(0, 7)
events = st.tuples(st.sampled_from([*CALLS, "poll", "complete", "restart", "restart", "pass"]), small, small)


def answer(state: EngineState, call: tuple[str, int, int]) -> str:
    name, *numbers = call
    try:
        return text(CALLS[name](state, *numbers))
    except CallError as error:
        return f"{type(error).__name__}: {ULID.sub('#', str(error))}"


@pytest.mark.parametrize("generation", ["A", "fenced"])
@settings(max_examples=100, deadline=None)
@given(events=st.lists(events, max_size=30))
@example(events=[*USUAL, ("pass", 3, 0), RESTART, ("pass", 3, 0), ("poll", 0, 0), RESTART, ("pass", 5, 0)])
@example(events=[*USUAL, ("approve", 0, 0), ("sign", 0, 0), RESTART, ("pass", 0, 0), RESTART, ("pass", 0, 0)])
@example(events=[("start", 0, 0), ("poll", 1, 1), ("cancel", 0, 0), ("complete", 0, 1), RESTART, ("complete", 0, 1)])
@example(
    events=[
        *[("start", 0, 0), ("poll", 1, 0), ("fail", 0, 1), ("pass", 6, 0), RESTART],
        *[("retry", 0, 0), ("pass", 0, 0), ("poll", 2, 0)],
    ]
)
def test_an_engine_that_restarts_between_calls_answers_like_one_that_does_not(
    generation: Generation, events: list[tuple[str, int, int]]
) -> None:
    clock = Clock()
    plain = EngineState(generation=generation, clock=clock)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        path = Path(folder) / "state"
        state, file = running.enter_context(kept(path, generation=generation, clock=clock))
        for event in [("upload", 0, 0), ("upload", 1, 0), *events]:
            if event[0] == "restart":
                running.close()
                state, file = running.enter_context(kept(path, generation=generation, clock=clock))
            elif event[0] == "pass":
                clock.now += 8.0 * event[1]
                for one in (plain, state):
                    one.fire()
                    one.sweep()
            else:
                assert answer(state, event) == answer(plain, event)
            file.commit()
            assert seen(state) == seen(plain)


def dispatched(path: Path, publish: int) -> list[tuple[str, str]]:
    """The waiting events after a start over Kafka, in order; then so many waves are published."""
    with kept(path, dispatch_mode="kafka_outbox", replay=1) as (state, file):
        waiting = [(event.dedup_id, event.job.id) for event in state.outbox.waiting]
        if not state.instances:
            upload(state, PAYOUT)
            for _ in range(3):
                state.start("payout")
        for _ in range(publish):
            state.outbox.published(state.outbox.wave()[:1])
        file.commit()
    return waiting


def test_over_kafka_unpublished_events_come_back_and_the_last_published_ones_again(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert dispatched(path, publish=0) == []
    events = dispatched(path, publish=2)
    assert len({dedup_id for dedup_id, _ in events}) == 3
    assert dispatched(path, publish=2) == events[1:]
    assert dispatched(path, publish=0) == events[2:]


def test_jobs_wait_for_polls_once_kafka_is_turned_off(tmp_path: Path) -> None:
    path = tmp_path / "state"
    dispatched(path, publish=3)
    with kept(path) as (state, _):
        assert len(state.poll("w", ["pay"], 5)) == 3


def test_the_clock_runs_on_while_no_engine_does(tmp_path: Path) -> None:
    path, clock = tmp_path / "state", Clock()
    with kept(path, clock=clock) as (state, file):
        upload(state, PAYOUT)
        state.start("payout")
        [job] = state.poll("w", ["pay"])
        file.commit()
    clock.now += 29
    with kept(path, clock=clock) as (state, file):
        assert state.sweep() == 0
        clock.now += 2
        assert state.sweep() == 1
        assert state.jobs[job.id].status == "CANCELLED"


def start_error(path: Path) -> str:
    with pytest.raises(StartError) as refused, kept(path):
        pass
    return str(refused.value)


def test_a_second_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with kept(path):
        assert start_error(path) == f"the state file {path} is in use by another process"
    with kept(path):
        pass


FOREIGN = "is not a state file: name a new file, or one that dev-engine --state has written"


def test_another_kind_of_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("milk, eggs\n" * 100)
    assert start_error(path) == f"{path} {FOREIGN}"
    assert path.read_text() == "milk, eggs\n" * 100


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE parcel (id)")
    assert start_error(path) == f"{path} {FOREIGN}"


def changed_by(path: Path, *statements: str) -> Path:
    """A state file with an instance, changed by hand."""
    with kept(path) as (state, file):
        upload(state, PAYOUT)
        state.start("payout")
        file.commit()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    return path


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = changed_by(tmp_path / "state", "PRAGMA user_version = 2")
    assert start_error(path) == f"the state file {path} has format 2, this version reads format 1"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM record WHERE kind = 'definition'",
        "UPDATE record SET row = '{' WHERE kind = 'job'",
        "UPDATE record SET row = '[]' WHERE kind = 'job'",
        "UPDATE record SET row = NULL WHERE kind = 'job'",
        """UPDATE record SET row = '{"history": 1}' WHERE kind = 'instance'""",
        "UPDATE record SET row = json_set(row, '$.execution', 'unknown') WHERE kind = 'job'",
        "UPDATE record SET row = printf('%.*c', 100000, '[') WHERE kind = 'job'",
        "DROP TABLE record",
    ],
)
def test_a_file_that_was_changed_by_hand_is_damaged(tmp_path: Path, damage: str) -> None:
    path = changed_by(tmp_path / "state", damage, "CREATE TABLE other (id)")
    assert start_error(path) == f"the state file {path} is damaged: remove it to start with an empty engine"


def test_a_file_with_overwritten_pages_is_damaged(tmp_path: Path) -> None:
    path = changed_by(tmp_path / "state")
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert start_error(path) == f"the state file {path} is damaged: remove it to start with an empty engine"


def test_a_file_whose_schema_is_no_text_is_damaged(tmp_path: Path) -> None:
    path = changed_by(tmp_path / "state")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREAT\xff TABLE"))
    assert start_error(path) == f"the state file {path} is damaged: remove it to start with an empty engine"


@pytest.mark.parametrize(("name", "reason"), [("", "Is a directory"), ("no/state", "No such file or directory")])
def test_a_path_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    assert start_error(tmp_path / name) == f"the state file {tmp_path / name} cannot be opened: {reason}"


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    path = changed_by(tmp_path / "state")
    with kept(path) as (state, file):
        database = file._database
        [pages] = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        upload(state, LOAN)
        for _ in range(20):
            state.start("loan")
        with pytest.raises(InternalError, match=f"^the state file {path} cannot be written: database or disk is full$"):
            file.commit()
        database.execute("PRAGMA max_page_count = 1000000")
        file.commit()
        before = seen(state)
    with kept(path) as (state, _):
        assert seen(state) == before
