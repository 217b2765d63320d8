"""From facts to rows: each says what was found and, where something can be done, what."""

from dataclasses import replace

import pytest

from rochallor_worker.doctor.facts import Answer, Facts, meaning
from rochallor_worker.doctor.findings import Finding, failed

YES, NO, MIXED = Answer.YES, Answer.NO, Answer.MIXED
RENEWABLE = Facts(
    kafka=NO,
    fenced=YES,
    renewable=YES,
    retry_step=YES,
    tried=True,
    lease=30,
    lease_on_request=YES,
    clock_skew=0.01,
    stable_key=YES,
    new_id_per_attempt=YES,
    schemas=YES,
    unique_business_keys=YES,
    variables_in_claims=YES,
)


def rows(facts: Facts) -> dict[str, Finding]:
    found = {row.check: row for row in meaning(facts)}
    assert all("\n" not in text for row in found.values() for text in row)
    return found


def test_a_renewable_engine_needs_no_action() -> None:
    assert {row.state for row in rows(RENEWABLE).values()} == {"ok"}


@pytest.mark.parametrize(
    ("answers", "name", "state"),
    [
        ((NO, NO, NO), "A: up to spring 2026", "warning"),
        ((NO, NO, YES), "B: v1.0 or v1.1", "warning"),
        ((YES, NO, YES), "C: after v1.1", "ok"),
        ((YES, YES, YES), "D: v1.2 or later", "ok"),
        ((YES, MIXED, YES), "replicas of several generations answer in turn", "warning"),
        ((Answer.UNKNOWN, NO, YES), "not known to this worker", "warning"),
    ],
)
def test_the_generation_is_named(answers: tuple[Answer, Answer, Answer], name: str, state: str) -> None:
    fenced, renewable, retry_step = answers
    row = rows(Facts(kafka=NO, fenced=fenced, renewable=renewable, retry_step=retry_step))["generation"]
    assert (row.found, row.state) == (name, state)


def test_properties_that_were_not_probed_have_no_rows() -> None:
    assert list(rows(replace(RENEWABLE, tried=False))) == ["generation", "outcomes", "leases", "manual retry"]


@pytest.mark.parametrize("other", [NO, MIXED, Answer.UNKNOWN])
def test_every_other_answer_changes_a_row(other: Answer) -> None:
    for changed in (
        replace(RENEWABLE, fenced=other),
        replace(RENEWABLE, renewable=other),
        replace(RENEWABLE, retry_step=other),
        replace(RENEWABLE, lease_on_request=other),
        replace(RENEWABLE, schemas=other),
        replace(RENEWABLE, unique_business_keys=other),
        replace(RENEWABLE, variables_in_claims=other),
    ):
        assert rows(changed) != rows(RENEWABLE)


def test_a_key_that_changes_fails() -> None:
    found = rows(replace(RENEWABLE, stable_key=NO))
    assert failed(found.values())
    assert found["retry of a job"].state == "failed"


@pytest.mark.parametrize(
    ("skew", "state", "text"),
    [
        (None, "ok", "not shown over gRPC"),
        (-0.4, "ok", "differ by 0.4 s"),
        (2.5, "warning", "2.5 s ahead of its database's"),
        (-2.5, "warning", "2.5 s behind its database's"),
    ],
)
def test_clocks(skew: float | None, state: str, text: str) -> None:
    row = rows(replace(RENEWABLE, clock_skew=skew))["clocks"]
    assert row.state == state
    assert row.found.endswith(text)
