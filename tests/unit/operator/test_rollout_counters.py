"""What is read from pods on trial: differences, restarts, silence and breakers."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import CANARY_LABEL, Key
from rochallor_operator.pods.probe import METRICS_LIMIT
from rochallor_operator.pods.samples import Sample, sample
from rochallor_operator.rollout.counters import ASKED, FRESH_S, Counters, Fleet
from rochallor_operator.rollout.state import NOTHING, Counts, Phase, State
from rochallor_operator.spec.sections import Gate
from unit.operator.samples import pod

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")
STATE = State(Phase.PROGRESSING, "old", "new")
SECOND = State(Phase.PROGRESSING, "old", "new", step=1)
READY = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}


def metrics(completed: int, failed: int = 0, **more: str) -> bytes:
    lines = [
        f'rochallor_worker_jobs_total{{job_type="a",outcome="completed"}} {float(completed)}',
        f'rochallor_worker_jobs_total{{job_type="a",outcome="failed_retryable"}} {float(failed)}',
        'rochallor_worker_jobs_total{job_type="a",outcome="lost"} 1000.0',
        'rochallor_worker_jobs_total{job_type="a",outcome="abandoned"} 1000.0',
    ]
    return "\n".join([*lines, *more.values(), ""]).encode()


OPEN = 'rochallor_worker_breaker_open{job_type="a"} 1.0'
PARTITION = 'rochallor_worker_kafka_lag{topic="t",partition="1"} 0.0'


class Cluster:
    """The pods of both fleets, and what they answer."""

    def __init__(self) -> None:
        self.canary: list[Manifest] = []
        self.stable: list[Manifest] = []
        self.answers: dict[str, bytes | None] = {}
        self.refuses = False
        self.now = 0.0
        self.counters = Counters(cast("Kube", self), self.read, lambda: self.now)

    async def pods(self, _namespace: str, selector: dict[str, str]) -> list[Manifest]:
        if self.refuses:
            raise KubernetesError(403, "no")
        return self.canary if CANARY_LABEL in selector else self.stable

    async def read(self, live: Manifest) -> bytes | None:
        return self.answers.get(live["metadata"]["name"])

    async def look(self, state: State = STATE) -> tuple[Counts, Counts]:
        self.counters.want(KEY, state, Gate())
        await self.counters._check(KEY)
        seen = self.counters.seen(KEY, state)
        assert seen is not None
        return seen.canary, seen.stable

    def run(self, fleet: str, name: str, body: bytes | None, **status: Any) -> None:
        pods = [one for one in getattr(self, fleet) if one["metadata"]["name"] != name]
        setattr(self, fleet, [*pods, pod(name, **READY | status)])
        self.answers[name] = body


async def test_only_what_happens_during_the_step_counts() -> None:
    cluster = Cluster()
    cluster.run("stable", "s-1", metrics(1000, 500))
    assert await cluster.look() == (NOTHING, NOTHING)
    cluster.run("canary", "c-1", metrics(7, 3))
    cluster.run("stable", "s-1", metrics(1020, 501))
    cluster.run("stable", "s-2", metrics(5))
    assert await cluster.look() == (Counts(10, 3), Counts(26, 1))
    cluster.run("canary", "c-1", metrics(8, 3))
    cluster.run("stable", "s-1", metrics(2))  # restarted
    assert await cluster.look() == (Counts(11, 3), Counts(28, 1))
    assert await cluster.look(SECOND) == (NOTHING, NOTHING)
    cluster.run("canary", "c-1", metrics(10, 4))
    assert await cluster.look(SECOND) == (Counts(3, 1), NOTHING)


async def test_a_new_operator_goes_on_from_the_status() -> None:
    cluster = Cluster()
    cluster.run("stable", "s-1", metrics(1000))
    cluster.run("canary", "c-1", metrics(40, 3))
    known = State(Phase.PROGRESSING, "old", "new", canary=Counts(30, 2), others=Counts(200, 5))
    assert await cluster.look(known) == (Counts(30, 2), Counts(200, 5))
    cluster.run("canary", "c-1", metrics(41, 4))
    assert await cluster.look(known) == (Counts(32, 3), Counts(200, 5))


async def test_what_a_stable_pod_has_counted_before_the_step_never_counts() -> None:
    cluster = Cluster()
    for number in range(ASKED + 1):
        cluster.run("stable", f"s-{number:02}", metrics(1000, 500))
    cluster.answers["s-07"] = None
    assert await cluster.look() == (NOTHING, NOTHING)
    cluster.answers["s-07"] = metrics(1001, 500)  # silent at the first reading
    del cluster.stable[0]  # the pod behind the asked ones moves up
    assert await cluster.look() == (NOTHING, NOTHING)
    cluster.run("stable", "s-52", None)
    cluster.stable = cluster.stable[-ASKED:]
    await cluster.look()
    cluster.answers["s-52"] = metrics(20, 10)
    assert await cluster.look(SECOND) == (NOTHING, NOTHING)
    cluster.answers["s-52"] = metrics(21, 10)
    assert await cluster.look(SECOND) == (NOTHING, Counts(1, 0))


async def test_pods_that_do_not_answer_are_known() -> None:
    cluster = Cluster()
    cluster.run("canary", "c-1", None)
    cluster.run("stable", "s-1", metrics(1))
    await cluster.look()
    seen = cluster.counters.seen(KEY, STATE)
    assert seen is not None
    assert seen.silent == "pod c-1 does not answer on its metrics port"
    cluster.run("canary", "c-1", metrics(1))
    cluster.run("stable", "s-1", b"nothing")
    await cluster.look()
    seen = cluster.counters.seen(KEY, STATE)
    assert seen is not None
    assert seen.silent == "no stable pod answers on its metrics port"


async def test_an_old_reading_is_none() -> None:
    cluster = Cluster()
    cluster.run("canary", "c-1", metrics(1))
    await cluster.look()
    cluster.refuses, cluster.now = True, FRESH_S
    await cluster.counters._check(KEY)
    assert cluster.counters.seen(KEY, STATE) is None


async def test_a_breaker_counts_when_it_is_open_twice_in_the_canary_alone() -> None:
    cluster = Cluster()

    async def breaker() -> str | None:
        await cluster.look()
        seen = cluster.counters.seen(KEY, STATE)
        assert seen is not None
        return seen.breaker

    cluster.run("canary", "c-1", metrics(1, breaker=OPEN))
    cluster.run("stable", "s-1", metrics(1, breaker=OPEN))
    assert [await breaker(), await breaker()] == [None, None]
    cluster.run("stable", "s-1", metrics(2))
    assert [await breaker(), await breaker()] == [None, "a"]
    cluster.run("canary", "c-1", metrics(2))
    assert await breaker() is None


async def test_partitions_and_crashes() -> None:
    cluster = Cluster()
    ended = {"exitCode": 1, "message": "boom"}
    crashed = {"name": "worker", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    cluster.run("canary", "c-1", metrics(1, p=PARTITION))
    cluster.run(
        "canary", "c-2", None, containerStatuses=[crashed | {"lastState": {"terminated": ended}}], conditions=[]
    )
    cluster.run("stable", "s-1", metrics(1, p=PARTITION, q=PARTITION.replace("1", "2")))
    await cluster.look()
    seen = cluster.counters.seen(KEY, STATE)
    assert seen is not None
    assert (seen.partitions, seen.crash, seen.silent) == ((1, 3), "pod c-2: boom", None)


async def test_pods_that_are_removed_or_evicted_have_not_crashed() -> None:
    cluster = Cluster()
    ended = {"name": "worker", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    cluster.run("canary", "c-1", None, containerStatuses=[ended])
    cluster.canary[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.run("canary", "c-2", None, containerStatuses=[ended], phase="Failed")
    await cluster.look()
    seen = cluster.counters.seen(KEY, STATE)
    assert seen is not None
    assert (seen.crash, seen.problem, seen.silent) == (None, None, None)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 20), max_size=3), max_size=10))
def test_counts_never_fall(readings: list[dict[str, int]]) -> None:
    fleet, last = Fleet(NOTHING, known=True), 0
    for reading in readings:
        fleet.add({name: Counts(jobs) for name, jobs in reading.items()})
        assert last <= fleet.counts.jobs <= last + sum(reading.values())
        last = fleet.counts.jobs


HISTOGRAM = "\n".join(
    f'rochallor_worker_handler_seconds_bucket{{job_type="a",le="{bound}"}} {count}.0'
    for bound, count in {"0.5": 10, "1.0": 30, "2.5": 37, "+Inf": 40}.items()
)


@pytest.mark.parametrize(("slower_than", "slow"), [(None, 0), (0.4, 30), (0.5, 30), (0.6, 10), (2.5, 3), (3, 0)])
def test_slow_runs_are_those_above_the_next_bound(slower_than: float | None, slow: int) -> None:
    assert sample(metrics(40, h=HISTOGRAM), slower_than) == Sample(40, 0, slow)


def test_lines_that_almost_match_take_no_time() -> None:
    line = b"rochallor_worker_jobs_total{" + b"a" * 512 + b"} 1\n"
    began = process_time()
    sample(line * (METRICS_LIMIT // len(line)))
    assert process_time() - began < 0.5  # without care 2 s, in which the operator does nothing else


@given(st.binary(max_size=200))
def test_a_pod_may_say_anything(noise: bytes) -> None:
    head = b'rochallor_worker_jobs_total{job_type="a",outcome="completed"} '
    sample(noise)
    found = sample(head + noise + b"\n" + head + b"NaN\n" + head + b"-1\n" + head + b"1e99\n" + noise, 1.0)
    assert found is None or found.jobs >= 0
