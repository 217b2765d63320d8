"""Gates: how many jobs of a type come, begin and wait, whatever happens; on a clock that only the test moves."""

import asyncio
import math
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.execution.gates import (
    DOUBT_SECONDS,
    LONGEST_DOUBT_SECONDS,
    LOOK_SECONDS,
    MAX_PARKED,
    Bucket,
    Gate,
    Permit,
    one_pod,
    pods_of,
)
from rochallor_worker.handlers.breaker import Breaker
from rochallor_worker.handlers.limits import Limits
from unit.worker.engines import gates_of, loop_time


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pods:
    def __init__(self, number: int = 1) -> None:
        self.number = number

    def __call__(self) -> int:
        return self.number


def gate_of(limits: Limits, clock: Clock | None = None, pods: Pods | None = None) -> Gate:
    return Gate("a", limits, clock or Clock(), pods or Pods())


def run(gate: Gate, *, succeeds: bool) -> None:
    permit = gate.enter()
    with permit:
        assert permit.begin()
        if succeeds:
            permit.succeeded()
        else:
            permit.failed("no")


def opened(clock: Clock, limits: Limits | None = None) -> Gate:
    gate = gate_of(limits or Limits(breaker=Breaker(failures=1)), clock)
    run(gate, succeeds=False)
    assert gate.circuit.open
    return gate


# the bucket


@given(
    st.floats(0.05, 20),
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from([1, 1, 2, 3, 10])), min_size=1, max_size=25),
)
def test_in_no_window_more_runs_begin_than_the_rate_and_those_of_a_second(
    per_second: float, steps: list[tuple[float, int]]
) -> None:
    clock, pods = Clock(), Pods(steps[0][1])
    bucket = Bucket(per_second, pods, clock)
    begun: list[float] = []
    highest = per_second / min(number for _, number in steps)
    for seconds, pods.number in steps:
        clock.now += seconds
        while bucket.tokens + 1e-9 >= 1:
            bucket.take()
            begun.append(clock.now)
    for first, at in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= max(1.0, highest) + highest * (begun[last] - at) + 1e-6


@given(st.floats(0.1, 200), st.integers(1, 20), st.integers(1, 20))
def test_a_change_of_the_number_of_pods_counts_within_a_second(per_second: float, before: int, after: int) -> None:
    clock, pods = Clock(), Pods(before)
    bucket = Bucket(per_second, pods, clock)
    pods.number = after
    clock.now += 1000  # long idle
    assert bucket.tokens == pytest.approx(max(1.0, per_second / after))


def test_the_number_of_pods_is_looked_up_once_a_second() -> None:
    clock, looks = Clock(), 0

    def pods() -> int:
        nonlocal looks
        looks += 1
        return 1

    bucket = Bucket(10, pods, clock)
    for _ in range(100):
        clock.now += LOOK_SECONDS / 10
        _ = bucket.tokens
    assert 9 <= looks <= 12


def test_a_bucket_starts_with_one_token_and_fills_up_to_those_of_a_second() -> None:
    clock = Clock()
    bucket = Bucket(10, Pods(), clock)
    assert bucket.tokens == 1
    clock.now += 0.05
    assert bucket.tokens == pytest.approx(1.5)
    clock.now += 100
    assert bucket.tokens == 10
    bucket.take()
    assert bucket.tokens == 9
    assert bucket.full_at(10) == pytest.approx(clock.now + 0.1)
    assert bucket.full_at(5) == clock.now


def test_a_slow_rate_lets_one_run_begin_at_a_time() -> None:
    clock = Clock()
    bucket = Bucket(0.1, one_pod, clock)
    clock.now += 3600
    assert bucket.tokens == 1
    bucket.take()
    assert bucket.full_at(1) == pytest.approx(clock.now + 10)


def test_a_run_that_nobody_asked_for_is_made_up_for() -> None:
    clock = Clock()
    bucket = Bucket(1, Pods(), clock)
    for _ in range(3):
        bucket.take()
    assert bucket.tokens == -2
    clock.now += 2.5
    assert bucket.tokens == pytest.approx(0.5)


def test_only_the_scope_resource_is_divided_by_the_number_of_pods() -> None:
    clock = Clock()
    own, shared = (gate_of(Limits(per_second=30, scope=scope), clock, Pods(3)) for scope in ("pod", "resource"))
    clock.now += 10
    assert (own.room, shared.room) == (30, 10)


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        ("6", 6),
        (" 6\n", 6),
        ("0", 1),
        ("-3", 1),
        ("", 1),
        ("six", 1),
        ("2.5", 1),
        ("9" * 5000, 1),
        ("9" * 400, 1),
        ("é", 1),
    ],
)
def test_the_number_of_pods_is_read_from_a_file(tmp_path: Path, text: str, pods: int) -> None:
    file = tmp_path / "pods"
    file.write_text(text)
    assert pods_of(file)() == pods


def test_without_the_file_there_is_one_pod_until_it_appears(tmp_path: Path) -> None:
    read = pods_of(tmp_path / "pods")
    assert read() == 1
    assert pods_of(tmp_path)() == 1
    (tmp_path / "pods").write_text("4")
    assert read() == 4


def test_what_was_no_number_of_pods_does_not_hold_a_type_up_for_longer_than_to_the_next_look() -> None:
    clock, pods = Clock(), Pods(100_000)
    gate = gate_of(Limits(per_second=1, scope="resource"), clock, pods)
    with gate.enter():
        pass
    assert gate.opens_at == clock.now + LOOK_SECONDS
    pods.number = 1
    clock.now += LOOK_SECONDS
    assert gate.room == 1


# the gate


def test_room_is_what_neither_runs_nor_is_asked_for() -> None:
    gate = gate_of(Limits(parallelism=5))
    assert gate.room == 5
    gate.ask(3)
    assert gate.room == 2
    permit = gate.enter()
    gate.ask(-3)
    assert gate.room == 4
    with permit:
        assert permit.begin()
        assert gate.room == 4
    assert gate.room == 5


def test_without_limits_the_parked_jobs_are_the_limit() -> None:
    gate = gate_of(Limits())
    assert gate.room == MAX_PARKED
    gate.parked = MAX_PARKED - 1
    assert gate.room == 1
    gate.parked = MAX_PARKED
    assert gate.room == 0
    assert gate.opens_at == math.inf


@pytest.mark.parametrize("more", [0, 64])
def test_parked_jobs_run_again_however_many_there_are(more: int) -> None:
    gate = gate_of(Limits(parallelism=3))
    gate.parked = gate.due = MAX_PARKED + more
    assert (gate.room, gate.room_for_parked) == (0, 3)


def test_parked_jobs_that_may_run_again_come_before_others() -> None:
    clock = Clock()
    gate = gate_of(Limits(parallelism=3, per_second=1), clock)
    gate.due = 1
    assert (gate.room_for_parked, gate.room) == (1, 0)
    assert gate.opens_at == pytest.approx(clock.now + 1)
    gate.due = 5
    assert gate.room == 0


def test_time_alone_opens_a_gate_only_where_tokens_are_missing() -> None:
    """Else a source would find no room at once, again and again."""
    clock = Clock()
    gate = gate_of(Limits(parallelism=1, per_second=10, breaker=Breaker(failures=1)), clock)
    clock.now += 5
    first = gate.enter()
    assert (gate.room, gate.opens_at) == (0, math.inf)
    with first:
        assert first.begin()
    gate.ask(1)
    assert (gate.room, gate.opens_at) == (0, math.inf)
    gate.ask(-1)
    run(gate, succeeds=False)
    assert (gate.room, gate.opens_at) == (0, gate.circuit.probe_at)
    clock.now = gate.circuit.probe_at
    assert gate.room == 1
    probe = gate.enter()
    assert (gate.room, gate.opens_at) == (0, math.inf)
    with probe:
        assert probe.begin()
        assert (gate.room, gate.opens_at) == (0, math.inf)


@given(st.floats(0.01, 100_000), st.integers(0, 5), st.integers(0, 5), st.floats(0, 1e7))
def test_when_a_gate_opens_there_is_room(per_second: float, asked_for: int, due: int, now: float) -> None:
    clock = Clock()
    clock.now = now
    gate = gate_of(Limits(per_second=per_second), clock)
    clock.now += 1
    gate.ask(asked_for)
    gate.due = due
    if gate.room == 0 and 1 + asked_for + due <= max(1, per_second):
        assert clock.now < gate.opens_at < math.inf
        clock.now = gate.opens_at + 1e-3  # no source comes sooner after the last time
        assert gate.room > 0


def test_all_hear_when_a_job_has_left() -> None:
    gate, heard = gate_of(Limits(parallelism=1)), []
    gate.changed = lambda: heard.append(gate.room)
    permit = gate.enter()
    with permit:
        assert permit.begin()
        assert heard == []
    assert heard == [1]


def test_permits_come_back_whatever_ends_the_job() -> None:
    gate = gate_of(Limits(parallelism=1))

    def end(error: BaseException, *, begins: bool) -> None:
        with (permit := gate.enter()):
            assert not begins or permit.begin()
            raise error

    for error in (ValueError, KeyboardInterrupt, asyncio.CancelledError):
        for begins in (True, False):
            with pytest.raises(error):
                end(error(), begins=begins)
            assert gate.room == 1


# the breaker


def test_while_open_one_job_at_a_time_is_asked_for_after_the_pause() -> None:
    clock = Clock()
    gate = opened(clock)
    assert (gate.room, gate.opens_at) == (0, clock.now + 1)
    clock.now += 1
    assert gate.room == 1
    gate.ask(1)
    assert gate.room == 0
    probe, held_back = gate.enter(), gate.enter()
    gate.ask(-1)
    assert gate.room == 1, "a job that waits behind another one must not keep the breaker open"
    with probe:
        assert probe.begin()
        assert gate.room == 0
        with held_back:
            assert not held_back.begin()
        assert probe.failed("no")
        clock.now += 1.9
        assert gate.room == 0
        clock.now += 0.1
        assert gate.room == 1
    with (probe := gate.enter()):
        assert probe.begin()
        probe.succeeded()
        assert gate.room == MAX_PARKED


def test_a_job_that_came_before_it_opened_does_not_begin() -> None:
    clock = Clock()
    gate = gate_of(Limits(breaker=Breaker(failures=1)), clock)
    waiting = gate.enter()
    run(gate, succeeds=False)
    with waiting:
        assert not waiting.begin()
    clock.now += 1
    assert gate.room == 1


def test_a_run_that_fails_while_it_is_open_is_told_so_and_delays_no_probe() -> None:
    clock = Clock()
    gate = gate_of(Limits(breaker=Breaker(failures=1)), clock)
    others = [gate.enter() for _ in range(3)]
    assert all(permit.begin() for permit in others)
    run(gate, succeeds=False)
    at = gate.circuit.probe_at
    for permit in others:
        with permit:
            assert permit.failed("no")
    assert gate.circuit.probe_at == at


def test_a_probe_that_ends_without_a_verdict_lets_the_next_one_begin() -> None:
    clock = Clock()
    gate = opened(clock)
    clock.now += 1
    with (probe := gate.enter()):
        assert probe.begin()
    assert gate.room == 0
    clock.now += 1
    assert gate.room == 1
    assert gate.circuit.open


def test_a_late_probe_does_not_end_the_next_opening() -> None:
    """Another run closes the breaker meanwhile, and it opens again: the probe that still runs is none any more."""
    clock = Clock()
    gate = gate_of(Limits(breaker=Breaker(failures=1)), clock)
    other = gate.enter()
    assert other.begin()
    run(gate, succeeds=False)
    clock.now += 1
    late = gate.enter()
    assert late.begin()
    with other:
        other.succeeded()
    run(gate, succeeds=False)
    clock.now += 1
    probe = gate.enter()
    assert probe.begin()
    with late:
        assert late.failed("no")
        assert gate.circuit.probing
    assert gate.circuit.probing
    with probe:
        assert probe.failed("no")
    assert gate.circuit.probe_at == clock.now + 2
    assert gate.circuit.open


class Traffic:
    """Jobs that come, begin and end at random."""

    def __init__(self, random: Random) -> None:
        self.random, self.clock = random, Clock()
        self.gate = gate_of(Limits(parallelism=4, breaker=Breaker(failures=2)), self.clock)
        self.waiting: list[Permit] = []
        self.running: list[Permit] = []

    def come(self) -> None:
        room = self.gate.room
        self.gate.ask(room)
        came = self.random.randint(0, room)
        self.gate.ask(-room)
        self.waiting += [self.gate.enter() for _ in range(came)]

    def begin(self) -> None:
        if self.waiting:
            permit = self.waiting.pop(self.random.randrange(len(self.waiting)))
            if self.random.random() < 0.8 and permit.begin():
                self.running.append(permit)
            else:
                permit.__exit__()

    def end(self) -> None:
        if self.running:
            with (permit := self.running.pop(self.random.randrange(len(self.running)))):
                how = self.random.random()
                if how < 0.7:
                    permit.failed("no")
                elif how < 0.85:
                    permit.succeeded()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_no_more_run_than_allowed_one_probe_at_a_time_and_permits_come_back(seed: int) -> None:
    traffic = Traffic(Random(seed))
    gate, opened = traffic.gate, 0
    for _ in range(500):
        traffic.clock.now += traffic.random.choice([0, 0, 0.1, 1, 30])
        traffic.random.choice([traffic.come, traffic.begin, traffic.end])()
        assert len(traffic.waiting) + len(traffic.running) <= 4
        assert not gate.circuit.open or gate.room == 0 or not gate.circuit.probing
        opened += gate.circuit.open
    assert 0 < opened < 500
    for permit in (*traffic.waiting, *traffic.running):
        permit.__exit__()
    traffic.clock.now += 60
    assert gate.room == (1 if gate.circuit.open else 4)
    assert (gate._running, gate._waiting, gate._asked_for) == (0, 0, 0)


# the doubt


def doubted(limits: Limits) -> Gate:
    return gates_of("a", limits=limits)["a"]


async def doubt(gate: Gate, since: float = 0, until: float = math.inf) -> None:
    with (permit := gate.enter()):
        assert permit.begin()
        await gate.doubt(since, lambda: until)


@pytest.mark.looptime
async def test_a_doubt_lasts_a_second_unless_a_lease_ends_before() -> None:
    gate = doubted(Limits())
    await doubt(gate)
    assert loop_time() == DOUBT_SECONDS
    await doubt(gate, until=loop_time() + 0.25)
    assert loop_time() == DOUBT_SECONDS + 0.25
    await doubt(gate, until=loop_time() - 1)
    assert loop_time() == DOUBT_SECONDS + 0.25


@pytest.mark.looptime
async def test_a_doubt_goes_on_while_others_run_but_not_for_ever() -> None:
    gate = doubted(Limits())
    with (slow := gate.enter()):
        assert slow.begin()
        await doubt(gate)
    assert loop_time() == LONGEST_DOUBT_SECONDS


@pytest.mark.looptime
async def test_a_job_in_doubt_leaves_room_for_another_one_to_run() -> None:
    gate, heard = doubted(Limits(parallelism=1)), []
    gate.changed = lambda: heard.append(gate.room)
    doubting = asyncio.create_task(doubt(gate))
    await asyncio.sleep(0)
    assert heard == [1]
    await doubting
    assert gate.room == 1


@pytest.mark.looptime
@pytest.mark.parametrize("end", ["success", "opening", "stop"])
async def test_a_doubt_ends_when_a_run_shows_what_is_at_fault(end: str) -> None:
    gate = doubted(Limits(breaker=Breaker(failures=2)))
    run(gate, succeeds=False)
    doubts = [asyncio.create_task(doubt(gate)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in doubts)
    if end == "stop":
        gate.end_doubts()
        gate.end_doubts()
    else:
        run(gate, succeeds=end == "success")
    await asyncio.gather(*doubts)
    assert loop_time() == 0.5
    assert gate._doubts == set()


@pytest.mark.looptime
async def test_there_is_no_doubt_without_a_breaker_while_it_is_open_or_after_a_success_meanwhile() -> None:
    await doubt(doubted(Limits(breaker=None)))
    gate = doubted(Limits(breaker=Breaker(failures=1)))
    with (permit := gate.enter()):
        assert permit.begin()
        run(gate, succeeds=True)
        await gate.doubt(since=0, until=lambda: math.inf)
        run(gate, succeeds=False)
        await gate.doubt(since=1, until=lambda: math.inf)
        assert loop_time() == 0
        permit.succeeded()
        await gate.doubt(since=0.5, until=lambda: math.inf)
    assert loop_time() == DOUBT_SECONDS
