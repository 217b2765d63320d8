"""The REST interface over a real socket: paths, status codes and bodies as in engine.md."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from rochallor_worker.devengine import DevEngine

from .definitions import ORDER

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


async def start(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/v1/instances", json={"definitionId": "order", **fields})
    assert answer.status_code == 201, answer.text
    instance: dict[str, Any] = answer.json()
    return instance


async def poll(http: httpx.AsyncClient, max_jobs: int = 10) -> list[dict[str, Any]] | None:
    answer = await http.post("/v1/jobs/poll", json={"workerId": "w", "jobTypes": ["pick"], "maxJobs": max_jobs})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"jobs"}
    jobs: list[dict[str, Any]] | None = body["jobs"]
    return jobs


async def test_health_is_an_empty_200(http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_it_has_a_page_that_runs_only_its_own_script(http: httpx.AsyncClient) -> None:
    answer = await http.get("/", headers={"accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self'; ")


async def test_definitions(http: httpx.AsyncClient) -> None:
    again = await http.post("/v1/definitions", json=ORDER)
    assert (again.status_code, again.json()["version"]) == (201, 1)
    answer = await http.post("/v1/definitions", json=ORDER | {"description": "new"})
    summary = answer.json()
    assert answer.status_code == 201
    assert summary | {"uploadedAt": ""} == {"id": "order", "version": 2, "name": "Order", "uploadedAt": ""}
    assert TIME.fullmatch(summary["uploadedAt"])
    assert (await http.get("/v1/definitions/order")).json() == ORDER | {"version": 2, "description": "new"}
    assert (await http.get("/v1/definitions/order/versions/1")).json() == ORDER | {"version": 1}
    assert (await http.get("/v1/definitions?keyword=ORD&page=0&pageSize=1")).json() == {"items": [summary], "total": 1}
    assert (await http.get("/v1/definitions?keyword=nope")).json() == {"items": None, "total": 0}


async def test_an_id_with_colons_can_be_escaped_in_a_path(http: httpx.AsyncClient) -> None:
    await http.post("/v1/definitions", json=ORDER | {"id": "LOS::loan"})
    assert (await http.get("/v1/definitions/LOS%3A%3Aloan")).json()["id"] == "LOS::loan"


async def test_an_instance_has_no_empty_fields(http: httpx.AsyncClient) -> None:
    started = await start(http, variables={"sku": 7})
    assert ULID.fullmatch(started["id"])
    assert TIME.fullmatch(started["startedAt"])
    assert started == {
        "id": started["id"],
        "definitionId": "order",
        "definitionVersion": 1,
        "status": "ACTIVE",
        "currentStepIds": ["a"],
        "variables": {"sku": 7},
        "startedAt": started["startedAt"],
    }
    assert (await http.get(f"/v1/instances/{started['id']}")).json() == started
    cancelled = await http.post(f"/v1/instances/{started['id']}/cancel", json={"reason": "enough"})
    assert cancelled.status_code == 200
    assert cancelled.json() == started | {"status": "CANCELLED", "failureReason": "enough"}
    ended = (await http.get(f"/v1/instances/{started['id']}")).json()
    assert TIME.fullmatch(ended["completedAt"])
    assert ended == cancelled.json() | {"completedAt": ended["completedAt"]}


async def test_instances_are_listed_by_definition_status_and_business_key(http: httpx.AsyncClient) -> None:
    first = await start(http, businessKey="k")
    await http.post("/v1/definitions", json=ORDER | {"id": "other"})
    second = await start(http, businessKey="k", definitionId="other", definitionVersion=1)
    listed = await http.get("/v1/instances", params={"status": "ACTIVE", "businessKey": "k", "pageSize": 1})
    assert listed.json() == {"items": [second], "total": 2}
    assert (await http.get("/v1/instances?definitionId=order&businessKey=k")).json() == {"items": [first], "total": 1}
    assert (await http.get("/v1/instances?page=1&pageSize=1")).json() == {"items": [first], "total": 2}
    assert (await http.get("/v1/instances?status=FAILED")).json() == {"items": None, "total": 0}
    for query in ("page=x&pageSize=y", "pageSize=0", "pageSize=201", "pageSize=-1"):
        assert (await http.get(f"/v1/instances?{query}")).json()["total"] == 2


async def test_a_job_from_claim_to_completed_instance(http: httpx.AsyncClient) -> None:
    assert await poll(http) is None
    instance = await start(http, variables={"sku": 7})
    [job] = await poll(http) or []
    assert all(TIME.fullmatch(job[name]) for name in ("createdAt", "lockedAt", "lockExpiresAt"))
    assert all(ULID.fullmatch(job[name]) for name in ("id", "stepExecutionId"))
    times = {name: job[name] for name in ("createdAt", "lockedAt", "lockExpiresAt")}
    assert job == times | {
        "id": job["id"],
        "instanceId": instance["id"],
        "stepExecutionId": job["stepExecutionId"],
        "jobType": "pick",
        "status": "LOCKED",
        "workerId": "w",
        "retriesRemaining": 1,
        "variables": {"sku": 7},
    }
    done = await http.post(f"/v1/jobs/{job['id']}/complete", json={"workerId": "w", "variables": {"ok": True}})
    assert (done.status_code, done.content) == (204, b"")
    ended = (await http.get(f"/v1/instances/{instance['id']}")).json()
    assert (ended["status"], ended["currentStepIds"]) == ("COMPLETED", [])
    assert ended["variables"] == {"sku": 7, "ok": True}
    history = (await http.get(f"/v1/instances/{instance['id']}/history")).json()["items"]
    assert TIME.fullmatch(history[0]["StartedAt"])
    assert history[0] == {
        "ID": job["stepExecutionId"],
        "InstanceID": instance["id"],
        "StepID": "a",
        "StepType": "SERVICE_TASK",
        "AttemptNumber": 1,
        "Status": "COMPLETED",
        "StartedAt": history[0]["StartedAt"],
        "EndedAt": ended["completedAt"],
        "InputSnapshot": None,
        "OutputSnapshot": None,
        "FailureReason": None,
    }
    assert [(entry["StepID"], entry["StepType"]) for entry in history] == [("a", "SERVICE_TASK"), ("e", "END")]


async def test_a_failed_job(http: httpx.AsyncClient) -> None:
    instance = await start(http)
    for retryable in (True, True):
        [job] = await poll(http) or []
        assert job["variables"] == {}
        failed = await http.post(
            f"/v1/jobs/{job['id']}/fail", json={"workerId": "w", "errorMessage": "no luck", "retryable": retryable}
        )
        assert (failed.status_code, failed.content) == (204, b"")
    ended = (await http.get(f"/v1/instances/{instance['id']}")).json()
    assert (ended["status"], ended["failureReason"], ended["currentStepIds"]) == ("FAILED", "no luck", ["a"])


async def test_more_than_a_hundred_jobs_may_be_requested(http: httpx.AsyncClient) -> None:
    for _ in range(101):
        await start(http)
    assert len(await poll(http, 101) or []) == 101


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("9007199254740993", "9007199254740992"),
        ("-9007199254740993", "-9007199254740992"),
        ("1.0", "1"),
        ("1.5e3", "1500"),
        ("0.1", "0.1"),
        ("1e300", "1" + "0" * 300),
        ("9223372036854775807", "9223372036854776000"),
        ('[[1.0, true, null, {"x": 2.50}], "1.0"]', '[[1,true,null,{"x":2.5}],"1.0"]'),
        ('"\\u00e9\\ud83d\\ude00"', '"é😀"'),
    ],
)
async def test_numbers_pass_through_float64(http: httpx.AsyncClient, sent: str, kept: str) -> None:
    answer = await http.post("/v1/instances", content=f'{{"definitionId": "order", "variables": {{"n": {sent}}}}}')
    assert f'"variables":{{"n":{kept}}}' in answer.text


async def test_the_history_of_an_unknown_instance_is_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/instances/nope/history")
    assert (answer.status_code, answer.json()) == (200, {"items": None})


async def test_a_lease_is_renewed_unless_the_engine_cannot(engine: DevEngine, http: httpx.AsyncClient) -> None:
    await start(http)
    [job] = await poll(http) or []

    async def renewed() -> httpx.Response:
        return await http.post(f"/v1/jobs/{job['id']}/heartbeat", json={"workerId": "w", "leaseSeconds": 60})

    answer = await renewed()
    assert (answer.status_code, answer.json().keys()) == (200, {"accepted", "lockExpiresAt"})
    assert TIME.fullmatch(answer.json()["lockExpiresAt"])
    engine.state.heartbeat = False
    unknown = await renewed()
    assert (unknown.status_code, unknown.text) == (404, "404 page not found\n")
    engine.state.heartbeat = engine.state.rolling = True
    assert [(await renewed()).status_code for _ in range(4)] == [404, 200, 404, 200]
    await http.post(f"/v1/jobs/{job['id']}/complete", json={"workerId": "w"})  # answered by the unfenced replica
    lost = await renewed()
    assert (lost.status_code, lost.json()["reason"]) == (409, "job lease lost")


async def test_a_failed_step_is_retried(http: httpx.AsyncClient) -> None:
    instance = await start(http)
    [job] = await poll(http) or []
    await http.post(f"/v1/jobs/{job['id']}/fail", json={"workerId": "w", "errorMessage": "no"})
    answer = await http.post(f"/v1/instances/{instance['id']}/steps/a/retry", json={"variables": {"n": 1.0}})
    assert (answer.status_code, answer.json()) == (200, instance | {"variables": {"n": 1}})


async def test_an_expired_lease_is_swept() -> None:
    async with DevEngine(lease=0.02, sweep=0.01) as engine, httpx.AsyncClient(base_url=engine.url, timeout=60) as http:
        await http.post("/v1/definitions", json=ORDER)
        await start(http)
        [job] = await poll(http) or []
        async with asyncio.timeout(60):
            while (again := await poll(http)) is None:
                pass
        assert (again[0]["stepExecutionId"], again[0]["retriesRemaining"]) == (job["stepExecutionId"], 1)
        assert again[0]["id"] != job["id"]
        # the second lease may have ended too by now
        assert [event.kind for event in engine.state.log][:3] == ["claim", "expire", "claim"]
