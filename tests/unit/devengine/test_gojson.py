"""JSON as Go reads it, and its error messages (those recorded are in tests/contract)."""

from typing import Any

import pytest

from rochallor_worker.devengine import gojson
from rochallor_worker.devengine.definition import BoundaryEvent, Definition, Step
from rochallor_worker.devengine.wire import FailRequest, PollRequest, StartRequest


@pytest.mark.parametrize(
    "body",
    [
        '{"workerId": "w", "jobTypes": ["t"], "maxJobs": 3}',
        ' \n{"workerId": "w", "jobTypes": ["t"], "maxJobs": 3} trailing',
        '{"WORKERID": "w", "jobtypes": ["t"], "MaxJobs": 3}',
        '{"workerId": "x", "workerId": "w", "jobTypes": ["t"], "maxJobs": 1, "MAXJOBS": 3}',
        '{"workerId": "w", "jobTypes": ["t"], "maxJobs": 3, "more": {"x": [1]}, "leaseSeconds": null}',
    ],
)
def test_one_request_written_in_many_ways(body: str) -> None:
    assert gojson.decode(body.encode(), PollRequest) == PollRequest("w", ["t"], 3)


def test_null_is_an_empty_request() -> None:
    assert gojson.decode(b"null", PollRequest) == PollRequest()


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xff"'])
def test_a_lone_surrogate_becomes_a_replacement_character(text: bytes) -> None:
    body = b'{"definitionId": ' + text + b', "variables": {' + text + b": [" + text + b", 1, 2.5, true]}}"
    assert gojson.decode(body, StartRequest) == StartRequest("\ufffd", 0, {"\ufffd": ["\ufffd", 1, 2.5, True]})


def test_the_fields_of_a_definition_are_read_in_any_case() -> None:
    step = b'{"Id": "a", "RetryCount": 2, "CONDITIONALNEXTSTEPS": {"X": "e"}, "boundaryevents": [EVENT]}'
    event = b'{"DURATION": "PT1S", "interrupting": true}'
    body = b'{"ID": "d", "NAME": "D", "Metadata": {"n": 1.5}, "STEPS": [' + step.replace(b"EVENT", event) + b"]}"
    read = gojson.decode(body, Definition)
    assert (read.id, read.name, read.metadata) == ("d", "D", {"n": 1.5})
    assert read.steps == [
        Step(
            id="a",
            retry_count=2,
            conditional_next_steps={"X": "e"},
            boundary_events=[BoundaryEvent(duration="PT1S", interrupting=True)],
        )
    ]


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        (PollRequest, "", "EOF"),
        (PollRequest, " ", "EOF"),
        (PollRequest, '{"workerId": "w', "unexpected EOF"),
        (PollRequest, '{"workerId": ', "unexpected EOF"),
        (PollRequest, '{"workerId" "w"}', "invalid character '\"' after object key"),
        (PollRequest, "{'workerId': 1}", "looking for beginning of object key string"),
        (PollRequest, '{"workerId": nope}', "invalid character 'n' looking for beginning of value"),
        (PollRequest, '{"maxJobs": -Infinity}', "invalid character 'I' looking for beginning of value"),
        (PollRequest, "7", "json: cannot unmarshal number into Go value of type rest.pollRequest"),
        (PollRequest, '{"workerId": true}', "bool into Go struct field pollRequest.workerId of type string"),
        (PollRequest, '{"maxJobs": true}', "bool into Go struct field pollRequest.maxJobs of type int"),
        (PollRequest, '{"maxJobs": 1.50}', "number 1.50 into Go struct field pollRequest.maxJobs of type int"),
        (PollRequest, '{"jobTypes": [1]}', "number into Go struct field pollRequest.jobTypes of type string"),
        (FailRequest, '{"retryable": "no"}', "string into Go struct field failRequest.retryable of type bool"),
        (StartRequest, '{"variables": {"x": [1e999]}}', "number 1e999 into Go struct field startRequest.variables of"),
        (Definition, '{"steps": [1]}', "number into Go struct field WorkflowDefinition.steps of type definition.Work"),
        (Definition, '{"steps": [{"more": 1}]}', 'json: unknown field "more"'),
        (Definition, '{"metadata": 1}', "WorkflowDefinition.metadata of type map[string]json.RawMessage"),
        (
            Definition,
            '{"steps": [{"boundaryEvents": [{"type": 1}]}]}',
            "Go struct field BoundaryEvent.steps.boundaryEvents.type of type string",
        ),
        (dict[str, Any], "[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (PollRequest, "[" * 100_000, "exceeded max depth"),
    ],
)
def test_gos_error_messages(kind: type[Any], body: str, error: str) -> None:
    with pytest.raises(gojson.GoError) as refused:
        gojson.decode(body.encode(), kind)
    assert error in str(refused.value)
