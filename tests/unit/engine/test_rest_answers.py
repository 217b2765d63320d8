"""The engine's JSON answers: jobs whose times cannot be read, and statuses of a newer engine."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from rochallor_worker.engine.client import UNREADABLE, ClaimedJob, Instance, InstanceStatus, StepExecution
from rochallor_worker.engine.rest.answers import Items, Jobs, claimed_job

JOB = {"id": "j", "instanceId": "i", "jobType": "t", "stepExecutionId": "s", "variables": {"a": 1}}
TIME, READ = "2026-01-01T00:00:00.25Z", datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)


def read(**fields: Any) -> ClaimedJob:
    [content] = msgspec.json.decode(json.dumps({"jobs": [JOB | fields]}), type=Jobs).jobs or []
    return claimed_job(content)


def test_a_claim_has_the_time_of_its_creation_and_the_begin_and_end_of_its_lease() -> None:
    job = read(createdAt=TIME, lockedAt=TIME, lockExpiresAt="2026-01-01T00:00:30Z")
    assert (job.created_at, job.locked_at) == (READ, READ)
    assert job.lock_expires_at == datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
    assert (job.id, job.key, job.variables) == ("j", "s", {"a": 1})


@pytest.mark.parametrize("bad", ["", "soon", TIME.removesuffix("Z"), "2026-13-01T00:00:00Z", 5, True, [], {}])
def test_a_time_that_cannot_be_read_costs_neither_the_job_nor_the_other_times(bad: Any) -> None:
    assert read(lockedAt=bad, lockExpiresAt=TIME, createdAt=TIME) == read(lockExpiresAt=TIME, createdAt=TIME)
    assert read(lockedAt=TIME, lockExpiresAt=bad, createdAt=TIME) == read(lockedAt=TIME, createdAt=TIME)
    assert read(lockedAt=TIME, lockExpiresAt=TIME, createdAt=bad) == read(lockedAt=TIME, lockExpiresAt=TIME)
    everything = dict.fromkeys(("lockedAt", "lockExpiresAt", "createdAt"), None)
    assert read(**dict.fromkeys(everything, bad)) == read(**everything) == read()


def test_a_job_without_variables_has_none() -> None:
    assert read(variables=None).variables == read(variables=None, lockedAt="soon").variables == {}


@pytest.mark.parametrize("fields", [{"id": 5}, {"jobType": None}, {"variables": []}, {"lockedAt": "soon", "id": 5}])
def test_anything_else_wrong_makes_the_job_unreadable(fields: dict[str, Any]) -> None:
    with pytest.raises(UNREADABLE):
        read(**fields)


INSTANCE = {"id": "i", "definitionId": "d", "definitionVersion": 1}


def test_an_unknown_status_is_text() -> None:
    listing = {"items": [INSTANCE | {"status": "PAUSED"}, INSTANCE | {"status": "ACTIVE"}], "total": 2}
    paused, active = msgspec.json.decode(json.dumps(listing), type=Items[Instance]).page.items
    assert paused.status == "PAUSED"
    assert active.status is InstanceStatus.ACTIVE


def test_a_history_may_contain_unknown_types_and_statuses() -> None:
    entry = {"ID": "s", "InstanceID": "i", "StepID": "a", "AttemptNumber": 1, "StepType": "MAIL", "Status": "SENT"}
    [found] = msgspec.json.decode(json.dumps({"items": [entry]}), type=Items[StepExecution]).page.items
    assert (found.step_type, found.status) == ("MAIL", "SENT")
