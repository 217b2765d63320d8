"""Variables that violate a schema, on newer engines (engine.md: `input_schema`, `outputs_schema`)."""

import pytest

from rochallor_worker.devengine.errors import SchemaViolationError
from rochallor_worker.devengine.model import EngineState

from .conftest import upload
from .test_model import claim

OBJECT: dict[str, object] = {
    "required": ["sku"],
    "properties": {"sku": {"type": "integer"}, "note": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({}, 'property "sku" is required'),
        ({"sku": "1"}, 'property "sku" must be of type integer'),
        ({"sku": True}, 'property "sku" must be of type integer'),
        ({"note": 1}, 'property "sku" is required; property "note" must be of type string'),
    ],
)
def test_a_result_that_violates_its_schema_fails_the_instance_at_once(
    fenced: EngineState, result: dict[str, object], problem: str
) -> None:
    task = {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "t", "nextStep": "e", "retryCount": 3}
    steps = [task | {"outputs_schema": OBJECT}, {"id": "e", "name": "E", "type": "END"}]
    upload(fenced, {"id": "d", "name": "D", "steps": steps})
    instance = fenced.start("d")
    job = claim(fenced, "t")
    with pytest.raises(SchemaViolationError) as violation:
        fenced.complete(job.id, "w", result)
    assert str(violation.value) == f"schema violation: {problem}"
    assert (job.status, job.execution.status) == ("FAILED", "FAILED")
    assert (instance.status, instance.failure_reason, instance.variables) == ("FAILED", str(violation.value), {})
    fenced.complete(job.id, "w", result)  # answered like any other outcome that does not count

    other = fenced.start("d")
    fenced.complete(claim(fenced, "t").id, "w", {"sku": 1, "note": "n", "more": None})
    assert other.status == "COMPLETED"


def test_variables_that_violate_the_definitions_schema_start_nothing(fenced: EngineState) -> None:
    end = {"id": "e", "name": "E", "type": "END"}
    upload(fenced, {"id": "d", "name": "D", "steps": [end], "input_schema": OBJECT})
    with pytest.raises(SchemaViolationError, match="schema violation: "):
        fenced.start("d", variables={"sku": None})
    assert fenced.instances == {}
    assert fenced.start("d", variables={"sku": 1}).status == "COMPLETED"
