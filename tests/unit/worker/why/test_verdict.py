"""`why` names each prepared fault, and never more than it knows."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from pages import ROOT, has_section
from rochallor_worker.why.facts import Answer, Condition, Facts, JobState, Pod, Slots, Step, TypeState, Worker
from rochallor_worker.why.stops import ORDER, REASONS
from rochallor_worker.why.verdict import Verdict, verdict
from unit.worker.why.faults import ANSWER, CHARGE, FAULTS, NOW, POD, SOUND, WORKER, at, with_worker

TYPES = st.sampled_from(["charge-card", "refund", ""])
TEXT = st.text(max_size=12)
TIMES = st.none() | st.integers(0, 1000).map(lambda seconds: NOW - timedelta(seconds=seconds))
BOOLEANS = st.booleans()
COUNTS = st.integers(0, 4)
KINDS = st.sampled_from(["SERVICE_TASK", "USER_TASK", "WAIT", "JOIN_GATEWAY", "DECISION", ""])
STATES = st.builds(
    TypeState,
    TYPES,
    running=COUNTS,
    parked=COUNTS,
    parallelism=st.none() | COUNTS,
    per_second=st.none() | st.floats(0.1, 10),
    breaker=st.sampled_from(["open", "closed", "off", "?"]),
    reason=TEXT,
)
JOBS = st.builds(
    JobState,
    st.sampled_from(["01M8", "other"]),
    TYPES,
    st.floats(0, 99),
    st.none() | st.floats(-9, 99),
    BOOLEANS,
    BOOLEANS,
)
ANSWERS = st.builds(
    Answer,
    problem=TEXT | st.sampled_from([f"{reason}: why" for reason in sorted(REASONS)]),
    slots=st.builds(Slots, COUNTS, COUNTS),
    types=st.lists(STATES, max_size=2).map(tuple),
    jobs=st.lists(JOBS, max_size=2).map(tuple),
)
PODS = st.builds(Pod, TEXT, BOOLEANS, st.none() | ANSWERS, TIMES, TEXT)
CONDITIONS = st.builds(
    Condition,
    st.sampled_from(["Ready", "Degraded", "Progressing", "AutoscalerReady"]),
    st.sampled_from(["True", "False", "Unknown"]),
    st.sampled_from([*sorted(REASONS), "CreateContainerError"]),
    TEXT,
)
WORKERS = st.builds(
    Worker,
    TEXT,
    st.lists(TYPES, max_size=2).map(tuple),
    suspended=BOOLEANS,
    observed=BOOLEANS,
    wanted=st.none() | COUNTS,
    ready=COUNTS,
    transport=st.sampled_from(["rest", "kafka"]),
    conditions=st.lists(CONDITIONS, max_size=3).map(tuple),
    pods=st.lists(PODS, max_size=3).map(tuple),
)
STEPS = st.builds(
    Step,
    TEXT,
    KINDS,
    TYPES,
    st.sampled_from(["RUNNING", "COMPLETED"]),
    TIMES,
    BOOLEANS,
    st.lists(TEXT, max_size=1).map(tuple),
)
FACTS = st.builds(
    Facts,
    st.just(NOW),
    TEXT,
    instance_id=st.sampled_from(["01M8", ""]),
    definition=TEXT,
    status=st.sampled_from(["ACTIVE", "WAITING", "COMPLETED", "FAILED", "CANCELLED", "NEW"]),
    failure=TEXT,
    started_at=TIMES,
    failed_step=TEXT,
    steps=st.lists(STEPS, max_size=2).map(tuple),
    workers=st.none() | st.lists(WORKERS, max_size=3).map(tuple),
    all_workers=BOOLEANS,
    engine_problem=st.just("") | TEXT,
    unknown=st.lists(TEXT, max_size=2).map(tuple),
)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(name: str) -> None:
    fault = FAULTS[name]
    found = verdict(fault.facts)
    assert fault.named in found.why
    assert (found.state, found.page) == (fault.state, fault.page)
    assert not found.page or has_section(found.page)


def test_nothing_stops_a_sound_instance() -> None:
    assert verdict(SOUND).state == "moves"
    assert verdict(replace(SOUND, status="COMPLETED")).why == "nothing stops it: it is COMPLETED"


def test_the_reasons_are_those_of_the_page() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == REASONS


def test_a_running_handler_moves_although_the_breaker_is_open() -> None:
    opened = structs.replace(
        ANSWER, types=(TypeState("charge-card", breaker="open"),), jobs=(JobState("01M8", "charge-card", 4),)
    )
    found = verdict(with_worker(replace(WORKER, pods=(POD, replace(POD, name="pay-2", answer=opened)))))
    assert (found.state, found.why) == ("moves", "its handler runs in pay-2 of shop/pay for 4 s")


def test_the_branch_to_look_at_first_decides() -> None:
    assert "misspelt" in verdict(at(Step("ok", "USER_TASK"), replace(CHARGE, job_type="charge-crad"))).why


def test_the_chain_leads_from_the_instance_to_the_pods() -> None:
    links = verdict(SOUND).chain
    assert [link.what for link in links] == ["instance", "step", "job type", "worker", "pod"]
    assert links[3].found == (
        "shop/pay: engine http://engine:8080; 1 pods ready, 1 wanted; Ready is True (Available: 1 of 1 pods available)"
    )
    assert links[4].found == ("pay-1: ready; 3 of 64 slots busy; of this type: 3 running, 0 postponed, breaker closed")


@given(FACTS)
@example(at(Step("\n", "SERVICE_TASK", "charge-card", "RUNNING")))
def test_every_answer_is_one_line_with_a_page_that_exists(facts: Facts) -> None:
    found = verdict(facts)
    texts = [found.why, *(link.found for link in found.chain), *found.unknown]
    assert all("\n" not in text for text in texts)
    assert found.why
    assert not found.page or has_section(found.page)
    assert len(found.unknown) == len(facts.unknown)


def rank(found: Verdict) -> int:
    return ORDER.index(found.state)


@given(st.lists(WORKERS, min_size=1, max_size=3))
def test_a_further_worker_never_makes_it_worse_where_all_are_known(workers: list[Worker]) -> None:
    more = replace(at(CHARGE), workers=tuple(workers))
    facts = replace(more, workers=tuple(workers[1:]))
    holds = any(pod.answer and pod.answer.jobs for one in more.workers or () for pod in one.pods)
    assert holds or rank(verdict(more)) >= rank(verdict(facts))


@given(st.lists(WORKERS, max_size=2))
def test_a_worker_with_room_is_never_the_stop(others: list[Worker]) -> None:
    holds = any(pod.answer and pod.answer.jobs for one in others for pod in one.pods)
    assert holds or verdict(replace(SOUND, workers=(*others, WORKER))).state == "moves"
