"""What gRPC's messages become: jobs, leases, and unknown enum values."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.client import InstanceStatus
from rochallor_worker.engine.grpc import messages

END = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)


def job(**fields: Any) -> pb.Job:
    return pb.Job(id="j", instance_id="i", job_type="t", step_execution_id="s", retries_remaining=2, **fields)


@pytest.mark.parametrize(
    ("fields", "variables"),
    [({}, None), ({"variables": {}}, {}), ({"variables": {"n": 1, "half": 0.5}}, {"n": 1, "half": 0.5})],
)
def test_a_claims_variables_are_none_only_if_it_carries_none(fields: dict[str, Any], variables: object) -> None:
    assert messages.claimed_job(job(**fields)).variables == variables


def test_a_claim_has_the_end_of_its_lease() -> None:
    found = messages.claimed_job(job(lock_expires_at=END))
    assert (found.id, found.key, found.lock_expires_at, found.locked_at) == ("j", "s", END, None)
    assert messages.claimed_job(job()).lock_expires_at is None


def test_a_claim_was_created_when_its_id_was_made() -> None:
    made = pb.Job(id="01ARZ3NDEKTSV4RRFFQ69G5FAV", instance_id="i", job_type="t")
    assert messages.claimed_job(made).created_at == datetime(2016, 7, 30, 23, 54, 10, 259_000, UTC)
    assert messages.claimed_job(job()).created_at is None


@pytest.mark.parametrize("time", [{"seconds": 2**62}, {"seconds": -(2**62)}, {"nanos": -5}, {"nanos": 2**31 - 1}])
def test_a_time_that_cannot_be_read_does_not_cost_the_job(time: dict[str, int]) -> None:
    assert messages.claimed_job(job(lock_expires_at=time)) == messages.claimed_job(job())


def test_jobs_of_which_one_cannot_be_parsed_are_read_one_by_one() -> None:
    answer = pb.PollJobsResponse(jobs=[job(), job(), job()])
    value = answer.jobs[1].variables.fields["x"]
    for _ in range(60):
        value = value.struct_value.fields["x"]
    value.bool_value = True
    first, second, third = messages.jobs(answer.SerializeToString())
    assert messages.claimed_job(first) == messages.claimed_job(third) == messages.claimed_job(job())
    with pytest.raises(ValueError, match="parsing"):
        messages.claimed_job(second)


def test_a_renewed_lease_has_an_end() -> None:
    assert messages.lease_end(pb.ExtendJobLeaseResponse(accepted=True, lock_expires_at=END)) == END


@pytest.mark.parametrize(
    "answer",
    [
        pb.ExtendJobLeaseResponse(),
        pb.ExtendJobLeaseResponse(accepted=True),
        pb.ExtendJobLeaseResponse(lock_expires_at=END),
        pb.ExtendJobLeaseResponse(accepted=True, lock_expires_at={"seconds": 2**62}),
    ],
)
def test_an_answer_that_renews_no_lease(answer: pb.ExtendJobLeaseResponse) -> None:
    with pytest.raises((ValueError, OverflowError)):
        messages.lease_end(answer)


def test_unknown_values_become_their_numbers() -> None:
    instance: Any = {"id": "i", "status": 42}
    execution: Any = {"step_type": 43, "status": 44}
    assert messages.instance(pb.WorkflowInstance(**instance)).status == "42"
    found = messages.step_execution(pb.StepExecution(**execution))
    assert (found.step_type, found.status) == ("43", "44")


def test_known_values_have_the_names_of_rest() -> None:
    found = messages.step_execution(
        pb.StepExecution(step_type="STEP_TYPE_DECISION_TABLE", status="STEP_EXECUTION_STATUS_SKIPPED")
    )
    assert (found.step_type, found.status) == ("DECISION_TABLE", "SKIPPED")
    known = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_WAITING")
    assert messages.instance(known).status is InstanceStatus.WAITING


def test_an_answer_without_an_instance_is_refused() -> None:
    with pytest.raises(ValueError, match="no instance id"):
        messages.instance(pb.WorkflowInstance())
