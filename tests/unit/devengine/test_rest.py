"""The REST interface over a real socket: paths, status codes and bodies as engine.md gives them."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rochallor_worker.devengine import DevEngine

ORDER: dict[str, Any] = {
    "id": "order",
    "name": "Order",
    "steps": [
        {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "pick", "retryCount": 1, "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ],
}
CODES = {400: "bad-request", 404: "not-found", 409: "conflict", 500: "internal-error"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


@pytest.fixture
async def engine() -> AsyncIterator[DevEngine]:
    async with DevEngine() as running:
        yield running


@pytest.fixture
async def http(engine: DevEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=engine.url) as client:
        assert (await client.post("/v1/definitions", json=ORDER)).status_code == 201
        yield client


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


async def test_definitions(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/definitions", json=ORDER)
    summary = answer.json()
    assert answer.status_code == 201
    assert summary | {"uploadedAt": ""} == {"id": "order", "version": 2, "name": "Order", "uploadedAt": ""}
    assert TIME.fullmatch(summary["uploadedAt"])
    assert (await http.get("/v1/definitions/order")).json() == ORDER | {"version": 2}
    assert (await http.get("/v1/definitions/order/versions/1")).json() == ORDER | {"version": 1}
    assert (await http.get("/v1/definitions?keyword=ORD&page=0&pageSize=1")).json() == {"items": [summary], "total": 1}
    assert (await http.get("/v1/definitions?keyword=nope")).json() == {"items": [], "total": 0}


async def test_an_id_with_colons_can_be_escaped_in_a_path(http: httpx.AsyncClient) -> None:
    await http.post("/v1/definitions", json=ORDER | {"id": "LOS::loan"})
    assert (await http.get("/v1/definitions/LOS%3A%3Aloan")).json()["id"] == "LOS::loan"


async def test_an_instance_has_what_it_has_and_no_more(http: httpx.AsyncClient) -> None:
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
    assert TIME.fullmatch(cancelled.json()["completedAt"])
    assert cancelled.json() == started | {
        "status": "CANCELLED",
        "failureReason": "enough",
        "completedAt": cancelled.json()["completedAt"],
    }


async def test_instances_are_listed_by_definition_status_and_business_key(http: httpx.AsyncClient) -> None:
    first = await start(http, businessKey="k")
    second = await start(http, businessKey="k", definitionVersion=1)
    listed = await http.get(
        "/v1/instances", params={"definitionId": "order", "status": "ACTIVE", "businessKey": "k", "pageSize": 1}
    )
    assert listed.json() == {"items": [second], "total": 2}
    assert (await http.get("/v1/instances?page=1&pageSize=1")).json() == {"items": [first], "total": 2}
    assert (await http.get("/v1/instances?status=FAILED")).json() == {"items": [], "total": 0}


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
        assert "variables" not in job  # there are none
        failed = await http.post(
            f"/v1/jobs/{job['id']}/fail", json={"workerId": "w", "errorMessage": "no luck", "retryable": retryable}
        )
        assert (failed.status_code, failed.content) == (204, b"")
    ended = (await http.get(f"/v1/instances/{instance['id']}")).json()
    assert (ended["status"], ended["failureReason"], ended["currentStepIds"]) == ("FAILED", "no luck", ["a"])


async def test_more_than_a_hundred_jobs_may_be_asked_for(http: httpx.AsyncClient) -> None:
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
        ("1e300", "1e300"),
        ('[[1.0, true, null, {"x": 2.50}], "1.0"]', '[[1,true,null,{"x":2.5}],"1.0"]'),
        ('"\\u00e9\\ud83d\\ude00"', '"é😀"'),
    ],
)
async def test_numbers_pass_through_float64(http: httpx.AsyncClient, sent: str, kept: str) -> None:
    answer = await http.post("/v1/instances", content=f'{{"definitionId": "order", "variables": {{"n": {sent}}}}}')
    assert f'"variables":{{"n":{kept}}}' in answer.text


@pytest.mark.parametrize(
    ("call", "body", "status", "reason"),
    [
        ("POST /v1/definitions", "{", 400, "invalid request body: Input data was truncated"),
        ("POST /v1/definitions", '{"steps": 1}', 400, "Expected `array`, got `int` - at `$.steps`"),
        ("POST /v1/definitions", '{"id": "x", "nmae": "y"}', 400, "unknown field `nmae`"),
        ("POST /v1/definitions", '{"id": "x", "name": "y"}', 400, "steps must not be empty"),
        ("GET /v1/definitions?page=x", None, 400, 'page must be an integer, is "x"'),
        ("GET /v1/definitions?pageSize=201", None, 400, "pageSize must be 1–200, is 201"),
        ("GET /v1/definitions/nope", None, 404, "definition not found"),
        ("GET /v1/definitions/order/versions/2", None, 404, "definition not found"),
        ("GET /v1/definitions/order/versions/0", None, 404, "definition not found"),
        ("GET /v1/definitions/order/versions/x", None, 400, 'version must be an integer, is "x"'),
        ("POST /v1/instances", "{}", 400, "definitionId is required"),
        ("POST /v1/instances", '{"definitionId": "nope"}', 500, "definition not found"),
        ("POST /v1/instances", '{"definitionId": "order", "variables": [1]}', 400, "Expected `object"),
        ("GET /v1/instances?page=-1", None, 400, "page must not be negative, is -1"),
        ("GET /v1/instances?status=DONE", None, 400, "one of ACTIVE, WAITING, COMPLETED, FAILED, CANCELLED, is"),
        ("GET /v1/instances/nope", None, 404, "workflow instance not found"),
        ("GET /v1/instances/nope/history", None, 404, "workflow instance not found"),
        ("POST /v1/instances/nope/cancel", None, 404, "workflow instance not found"),
        ("POST /v1/jobs/poll", '{"workerId": "w", "jobTypes": []}', 400, "jobTypes must not be empty"),
        ("POST /v1/jobs/poll", '{"workerId": "", "jobTypes": ["t"]}', 400, "workerId is required"),
        ("POST /v1/jobs/poll", "", 400, "invalid request body"),
        ("POST /v1/jobs/x/complete", '{"workerId": "w"}', 500, 'job "x" not found'),
        ("POST /v1/jobs/x/complete", '{"workerId": "w", "variables": "v"}', 400, "Expected `object"),
        ("POST /v1/jobs/x/complete", '{"variables": {"n": NaN}}', 400, "JSON is malformed"),
        ("POST /v1/jobs/x/complete", f'{{"variables": {{"n": {"9" * 400}}}}}', 400, "too large to convert to float"),
        ("POST /v1/jobs/x/complete", "[" * 9000, 400, "invalid request body"),
        ("POST /v1/jobs/x/complete", '{"variables": {"n": ' + "[" * 9000, 400, "recursion"),
        ("POST /v1/jobs/x/fail", '{"workerId": "w"}', 500, 'job "x" not found'),
        ("POST /v1/instances/{id}/user-tasks/a/complete", "{}", 404, "user task not found"),
        ("POST /v1/instances/nope/user-tasks/a/complete", None, 404, "instance not found"),
        ("POST /v1/instances/{id}/signals/a", '{"any": 1}', 409, "not currently parked"),
        ("POST /v1/instances/{id}/signals/a", "[]", 400, "Expected `object`, got `array`"),
        ("POST /v1/instances/nope/signals/a", None, 404, "instance not found"),
    ],
)
async def test_a_wrong_call_is_refused(
    http: httpx.AsyncClient, call: str, body: str | None, status: int, reason: str
) -> None:
    instance = await start(http)
    method, path = call.replace("{id}", instance["id"]).split(" ", 1)
    answer = await http.request(method, path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    refusal = answer.json()
    assert refusal.keys() == {"error", "reason"}
    assert refusal["error"] == CODES[status]
    assert reason in refusal["reason"]


async def test_a_second_cancel_is_an_internal_error(http: httpx.AsyncClient) -> None:
    instance = await start(http)
    path = f"/v1/instances/{instance['id']}/cancel"
    assert [(await http.post(path)).status_code for _ in range(2)] == [200, 500]


@pytest.mark.parametrize("path", ["/", "/v1/nope", "/v1/instances/", "/v1/jobs/x", "/metrics"])
async def test_an_unknown_path_is_a_plain_404(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_wrong_method_is_a_405(http: httpx.AsyncClient) -> None:
    answer = await http.put("/v1/instances")
    assert (answer.status_code, answer.content) == (405, b"")


async def test_an_expired_lease_is_swept() -> None:
    async with DevEngine(lease=0.02, sweep=0.01) as engine, httpx.AsyncClient(base_url=engine.url) as http:
        await http.post("/v1/definitions", json=ORDER)
        await start(http)
        [job] = await poll(http) or []
        async with asyncio.timeout(10):
            while (again := await poll(http)) is None:
                pass
        assert (again[0]["id"], again[0]["retriesRemaining"]) == (job["id"], 1)
        # the second lease may have ended as well by now
        assert [event.kind for event in engine.state.log][:3] == ["claim", "expire", "claim"]
