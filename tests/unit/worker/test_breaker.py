"""The breaker of a job type as a state machine."""

import math
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rochallor_worker.handlers.breaker import DEFAULT, PAUSES, Breaker, Circuit


def opened(failures: int = 3) -> Circuit:
    circuit = Circuit(Breaker(failures=failures))
    for number in range(failures):
        assert not circuit.open
        assert circuit.failed(float(number), f"error {number}") == (number == failures - 1)
    return circuit


def test_the_default_is_twenty_in_a_row() -> None:
    assert Breaker(failures=20, within=None) == DEFAULT
    assert opened(20).open


@pytest.mark.parametrize(
    ("failures", "within"),
    [(0, None), (-1, None), (2.5, None), (math.nan, None), ("3", None), (None, None), (3, 0), (3, -1), (3, math.inf),
     (3, math.nan), (3, "1m"), (True, None), (3, True)],
)  # fmt: skip
def test_impossible_breakers_are_refused(failures: Any, within: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^Breaker\(.*\) is not possible: failures is a whole number from 1, and within"
    ):
        Breaker(failures=failures, within=within)


def test_it_opens_at_the_last_of_so_many_failures_and_keeps_the_reason() -> None:
    circuit = opened()
    assert circuit.open
    assert circuit.reason == "error 2"
    assert circuit.probe_at == pytest.approx(2 + 1)


def test_one_failure_can_be_enough() -> None:
    assert opened(1).open
    assert Circuit(Breaker(failures=1, within=0.1)).failed(5, "no")


def test_a_success_between_starts_the_count_again() -> None:
    circuit = Circuit(Breaker(failures=3))
    for now in range(20):
        assert not circuit.failed(now, "no")
        assert not circuit.failed(now, "no")
        assert not circuit.succeeded(now)
        assert circuit.succeeded_at == now
    assert not circuit.open


def test_within_counts_only_recent_failures() -> None:
    circuit = Circuit(Breaker(failures=3, within=10))
    assert [circuit.failed(at, "no") for at in (0, 6, 10.5, 16.5, 20.5)] == [False, False, False, False, True]
    exactly = Circuit(Breaker(failures=2, within=10))
    assert [exactly.failed(at, "no") for at in (0, 10)] == [False, True]


def test_without_a_breaker_it_never_opens_and_notes_successes() -> None:
    circuit = Circuit(None)
    assert not any(circuit.failed(now, "no") for now in range(100))
    assert not circuit.open
    assert circuit.succeeded_at == -math.inf
    assert not circuit.succeeded(7)
    assert circuit.succeeded_at == 7


def test_probes_come_one_at_a_time_after_growing_pauses() -> None:
    circuit, now, pauses = opened(), 2.0, []
    for _ in range(8):
        pauses.append(circuit.probe_at - now)
        assert not circuit.probe(circuit.probe_at - 0.001)
        now = circuit.probe_at
        assert circuit.probe(now)
        assert not circuit.probe(now + 100)
        now += 0.5
        circuit.probe_ended(now, failed=True)
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_after_a_day_of_failing_probes_the_pause_is_still_the_longest() -> None:
    circuit = opened()
    for _ in range(3000):
        assert circuit.probe(circuit.probe_at)
        circuit.probe_ended(circuit.probe_at, failed=True)
    assert circuit.probe_at < 3 + 3000 * 30


def test_at_first_it_is_closed_and_nothing_has_happened() -> None:
    for breaker in (None, DEFAULT):
        circuit = Circuit(breaker)
        assert (circuit.open, circuit.reason, circuit.probing, circuit.probe_at) == (False, "", False, -math.inf)


def test_a_success_ends_the_probe_too() -> None:
    circuit = opened()
    assert circuit.probe(50)
    circuit.succeeded(51)
    assert not circuit.probing


def test_a_probe_without_a_verdict_is_followed_by_another_one_after_the_same_pause() -> None:
    """A service that asks to wait has its jobs postponed: that must not become a circle without a pause."""
    circuit = opened()
    for at in (50, 60, 70):
        assert circuit.probe(at)
        circuit.probe_ended(at, failed=False)
        assert circuit.probe_at == at + 1


def test_a_success_closes_it_once_and_the_next_opening_begins_with_the_shortest_pause() -> None:
    circuit = opened()
    for _ in range(4):
        assert circuit.probe(circuit.probe_at)
        circuit.probe_ended(circuit.probe_at, failed=True)
    assert circuit.succeeded(100)
    assert not circuit.open
    assert not circuit.succeeded(101)
    assert [circuit.failed(200, "again") for _ in range(3)] == [False, False, True]
    assert circuit.probe_at == 201
    assert not circuit.probing


class Circuits(RuleBasedStateMachine):
    """A circuit beside a list of what has happened to it."""

    @initialize(failures=st.integers(1, 5), within=st.none() | st.floats(0.5, 20))
    def begin(self, failures: int, within: float | None) -> None:
        self.breaker = Breaker(failures, within)
        self.circuit = Circuit(self.breaker)
        self.now = 0.0
        self.in_a_row: list[float] = []
        self.open = self.probing = False
        self.failed_probes = 0
        self.probe_at = 0.0

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 3.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def succeed(self) -> None:
        assert self.circuit.succeeded(self.now) == self.open
        self.open, self.in_a_row = False, []

    @precondition(lambda self: not self.open)
    @rule()
    def fail(self) -> None:
        self.in_a_row.append(self.now)
        last = self.in_a_row[-self.breaker.failures :]
        within = math.inf if self.breaker.within is None else self.breaker.within
        opens = len(last) == self.breaker.failures and self.now - last[0] <= within
        assert self.circuit.failed(self.now, str(self.now)) == opens
        assert self.circuit.reason == str(self.now)
        if opens:
            self.open, self.probing, self.failed_probes, self.in_a_row = True, False, 0, []
            self.probe_at = self.now + 1

    @precondition(lambda self: self.open)
    @rule()
    def probe(self) -> None:
        may = not self.probing and self.now >= self.probe_at
        assert self.circuit.probe(self.now) == may
        self.probing = self.probing or may

    @precondition(lambda self: self.open and self.probing)
    @rule(failed=st.booleans())
    def end_probe(self, failed: bool) -> None:
        self.circuit.probe_ended(self.now, failed=failed)
        self.probing = False
        self.failed_probes += failed
        self.probe_at = self.now + min(2**self.failed_probes, 30)

    @invariant()
    def same(self) -> None:
        assert self.circuit.open == self.open
        if self.open:
            assert self.circuit.probing == self.probing
            assert self.circuit.probe_at == pytest.approx(self.probe_at)
            assert self.circuit.probe_at - self.now <= PAUSES.most


TestCircuits = Circuits.TestCase
