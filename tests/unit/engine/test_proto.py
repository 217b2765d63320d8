"""The messages: field numbers are the engine's, and the generated modules match their source."""

import subprocess
import sys
from pathlib import Path

import pytest

from rochallor_worker.engine._pb.workflow.v1 import dispatch_pb2
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb

ROOT = Path(__file__).parents[3]
GENERATED = ROOT / "worker/src/rochallor_worker/engine/_pb"

NUMBERS: dict[str, dict[str, int]] = {
    "WorkflowDefinition": {
        "id": 1,
        "version": 2,
        "name": 3,
        "description": 4,
        "auto_start_next_workflow": 5,
        "next_workflow_id": 6,
        "steps": 7,
        "metadata": 8,
        "input_schema": 9,
    },
    "WorkflowStep": {
        "id": 1,
        "name": 2,
        "type": 3,
        "description": 4,
        "next_step": 10,
        "parallel_next_steps": 11,
        "join_step": 12,
        "conditional_next_steps": 20,
        "transformations": 30,
        "job_type": 40,
        "delegate_class": 41,
        "retry_count": 42,
        "boundary_events": 50,
        "decision_table": 60,
        "hit_policy": 61,
        "outputs_schema": 70,
    },
    "DecisionTable": {"rules": 1, "default_next_step": 2},
    "DecisionTableRule": {"when": 1, "then": 2, "outputs": 3},
    "BoundaryEvent": {"type": 1, "duration": 2, "interrupting": 3, "target_step_id": 4},
    "WorkflowInstance": {
        "id": 1,
        "definition_id": 2,
        "definition_version": 3,
        "status": 4,
        "current_step_ids": 5,
        "variables": 6,
        "started_at": 7,
        "completed_at": 8,
        "failure_reason": 9,
        "business_key": 10,
    },
    "StepExecution": {
        "id": 1,
        "instance_id": 2,
        "step_id": 3,
        "step_type": 4,
        "attempt_number": 5,
        "status": 6,
        "started_at": 7,
        "ended_at": 8,
        "failure_reason": 9,
    },
    "Job": {
        "id": 1,
        "job_type": 2,
        "instance_id": 3,
        "step_id": 4,
        "step_execution_id": 5,
        "retries_remaining": 6,
        "variables": 7,
        "lock_expires_at": 8,
    },
    "UploadDefinitionRequest": {"definition": 1},
    "UploadDefinitionResponse": {"id": 1, "version": 2, "uploaded_at": 3},
    "GetDefinitionRequest": {"id": 1, "version": 2},
    "GetDefinitionResponse": {"definition": 1},
    "ListDefinitionsRequest": {"keyword": 1, "page": 2, "page_size": 3},
    "ListDefinitionsResponse": {"definitions": 1, "total": 2},
    "StartInstanceRequest": {"definition_id": 1, "definition_version": 2, "variables": 3, "business_key": 4},
    "StartInstanceResponse": {"instance": 1},
    "GetInstanceRequest": {"id": 1},
    "GetInstanceResponse": {"instance": 1},
    "GetInstanceHistoryRequest": {"id": 1},
    "GetInstanceHistoryResponse": {"executions": 1},
    "CancelInstanceRequest": {"id": 1, "reason": 2},
    "CancelInstanceResponse": {"instance": 1},
    "ListInstancesRequest": {"definition_id": 1, "status": 2, "business_key": 3, "page": 4, "page_size": 5},
    "ListInstancesResponse": {"instances": 1, "total": 2},
    "PollJobsRequest": {"worker_id": 1, "job_types": 2, "max_jobs": 3, "lease_seconds": 4},
    "PollJobsResponse": {"jobs": 1},
    "CompleteJobRequest": {"job_id": 1, "worker_id": 2, "variables_to_set": 3},
    "CompleteJobResponse": {},
    "FailJobRequest": {"job_id": 1, "worker_id": 2, "retryable": 3, "error_message": 4},
    "FailJobResponse": {},
    "CompleteUserTaskRequest": {"completed_by": 2, "result": 3, "instance_id": 4, "user_task_step_id": 5},
    "CompleteUserTaskResponse": {},
    "SignalWaitRequest": {"instance_id": 1, "wait_step_id": 2, "variables": 3},
    "SignalWaitResponse": {},
    "RetryStepRequest": {"instance_id": 1, "step_id": 2, "variables": 3},
    "RetryStepResponse": {"instance": 1},
    "ExtendJobLeaseRequest": {"job_id": 1, "worker_id": 2, "lease_seconds": 3},
    "ExtendJobLeaseResponse": {"accepted": 1, "lock_expires_at": 2},
    "JobDispatchEvent": {
        "schema_version": 1,
        "dedup_id": 2,
        "job_id": 10,
        "instance_id": 11,
        "step_execution_id": 12,
        "job_type": 13,
        "retries_remaining": 20,
        "job_payload": 30,
        "created_at": 40,
    },
}


def test_every_field_has_the_engines_number() -> None:
    found = {
        name: {field.name: field.number for field in message.fields}
        for module in (pb, dispatch_pb2)
        for name, message in module.DESCRIPTOR.message_types_by_name.items()
    }
    assert found == NUMBERS


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (
            pb.StepType,
            "UNSPECIFIED SERVICE_TASK USER_TASK DECISION TRANSFORMATION WAIT PARALLEL_GATEWAY JOIN_GATEWAY END "
            "DECISION_TABLE",
        ),
        (pb.InstanceStatus, "UNSPECIFIED ACTIVE WAITING COMPLETED FAILED CANCELLED"),
        (pb.StepExecutionStatus, "UNSPECIFIED RUNNING COMPLETED FAILED SKIPPED"),
        (pb.BoundaryEventType, "UNSPECIFIED TIMER"),
    ],
)
def test_every_enum_has_the_engines_numbers(enum: type[pb.StepType], names: str) -> None:
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    assert enum.keys() == [prefix + name for name in names.split()]
    assert enum.values() == list(range(len(names.split())))


def test_the_service_has_fifteen_calls() -> None:
    service = pb.DESCRIPTOR.services_by_name["WorkflowEngine"]
    assert service.full_name == "workflow.v1.WorkflowEngine"
    assert len(service.methods) == 15
    for method in service.methods:
        assert (method.input_type.name, method.output_type.name) == (f"{method.name}Request", f"{method.name}Response")


def test_the_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    out = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=worker/proto", *out]
    subprocess.run([*protoc, "workflow/v1/engine.proto", "workflow/v1/dispatch.proto"], cwd=ROOT, check=True)
    for file in ("engine_pb2.py", "engine_pb2.pyi", "dispatch_pb2.py", "dispatch_pb2.pyi"):
        fresh, committed = tmp_path / "workflow/v1" / file, GENERATED / "workflow/v1" / file
        assert committed.read_text() == fresh.read_text(), "run `make proto` after a change of worker/proto"
