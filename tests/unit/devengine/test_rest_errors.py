"""What the REST interface refuses: status codes and reasons as in engine.md, and web pages."""

import httpx
import pytest

from rochallor_worker.devengine import DevEngine

from .definitions import ORDER
from .test_rest import poll, start

CODES = {400: "bad-request", 404: "not-found", 409: "conflict", 500: "internal-error"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080"}, 200),
        ({"Host": "127.0.0.1:8080", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:8080", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "::1]["}, 403),
    ],
)
async def test_web_pages_cannot_use_it(http: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    answer = await http.get("/v1/instances", headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"] == "forbidden"


async def test_in_a_cluster_it_has_any_name_but_web_pages_still_cannot_use_it() -> None:
    async with DevEngine(host="0.0.0.0") as engine, httpx.AsyncClient(base_url=engine.url, timeout=60) as client:
        named = {"Host": "dev-engine.shop:8080"}
        assert (await client.get("/v1/instances", headers=named)).status_code == 200
        foreign = named | {"Origin": "http://evil.example"}
        assert (await client.get("/v1/instances", headers=foreign)).status_code == 403


@pytest.mark.parametrize(
    ("call", "body", "status", "reason"),
    [
        ("POST /v1/definitions", "{", 400, "parse error: parse: unexpected EOF"),
        ("POST /v1/definitions", '{"steps": 1}', 400, "cannot unmarshal number into Go struct field"),
        ("POST /v1/definitions", '{"id": "x", "nmae": "y"}', 400, 'parse error: parse: json: unknown field "nmae"'),
        ("POST /v1/definitions", '{"id": "x", "name": "y"}', 400, "steps must not be empty"),
        ("GET /v1/definitions?page=-1", None, 500, "ERROR: OFFSET must not be negative (SQLSTATE 2201X)"),
        ("GET /v1/definitions/nope", None, 404, "definition not found"),
        ("GET /v1/definitions/order/versions/2", None, 404, "definition not found"),
        ("GET /v1/definitions/order/versions/0", None, 404, "definition not found"),
        ("GET /v1/definitions/order/versions/x", None, 400, "invalid version parameter"),
        ("POST /v1/instances", "{}", 400, "definitionId is required"),
        ("POST /v1/instances", '{"definitionId": "nope"}', 500, "definition not found"),
        ("POST /v1/instances", '{"definitionId": "order", "variables": [1]}', 400, "cannot unmarshal array into Go"),
        ("POST /v1/instances", '{"definitionId": "order", "businessKey": "taken"}', 409, "already in use"),
        ("GET /v1/instances?page=-1", None, 500, "list instances: rows: ERROR: OFFSET must not be negative"),
        ("GET /v1/instances/nope", None, 404, 'instance "nope" not found'),
        ("POST /v1/instances/nope/cancel", None, 500, "cancel: no rows in result set"),
        ("POST /v1/instances/nope/steps/a/retry", None, 404, "workflow instance not found"),
        ("POST /v1/instances/{id}/steps/a/retry", "{}", 409, "instance is ACTIVE, not FAILED"),
        ("POST /v1/instances/{id}/steps/a/retry", '{"variables": 1}', 400, "cannot unmarshal number into Go"),
        ("POST /v1/jobs/poll", '{"workerId": "w", "jobTypes": []}', 400, "jobTypes must not be empty"),
        ("POST /v1/jobs/poll", '{"workerId": "", "jobTypes": ["t"]}', 400, "workerId is required"),
        (
            "POST /v1/jobs/poll",
            '{"workerId": "w", "jobTypes": ["t"], "leaseSeconds": 4}',
            400,
            "leaseSeconds must be 0",
        ),
        ("POST /v1/jobs/poll", "", 400, "invalid request body: EOF"),
        ("POST /v1/jobs/x/complete", '{"workerId": "w"}', 500, 'job "x" not found'),
        ("POST /v1/jobs/x/complete", '{"workerId": "w", "variables": "v"}', 400, "cannot unmarshal string into Go"),
        ("POST /v1/jobs/x/complete", '{"variables": {"n": NaN}}', 400, "invalid character 'N' looking for"),
        ("POST /v1/jobs/x/complete", f'{{"variables": {{"n": {"9" * 400}}}}}', 400, "too large to convert to float"),
        ("POST /v1/jobs/x/complete", "[" * 9000, 400, "invalid request body"),
        ("POST /v1/jobs/x/complete", '{"variables": {"n": ' + "[" * 100_000, 400, "exceeded max depth"),
        ("POST /v1/jobs/x/fail", '{"workerId": "w"}', 500, "lock job instance: no rows in result set"),
        ("POST /v1/jobs/x/heartbeat", '{"workerId": "w"}', 500, 'job "x" not found'),
        ("POST /v1/jobs/x/heartbeat", "{}", 400, "workerId is required"),
        ("POST /v1/instances/{id}/user-tasks/x/complete", "{}", 404, "user task not found"),
        ("POST /v1/instances/{id}/user-tasks/a/complete", "{}", 400, "step type does not match the endpoint"),
        ("POST /v1/instances/nope/user-tasks/a/complete", None, 404, "workflow instance not found"),
        ("POST /v1/instances/{id}/signals/x", '{"any": 1}', 409, "not currently parked"),
        ("POST /v1/instances/{id}/signals/a", "[]", 400, "cannot unmarshal array into Go value of type map"),
        ("POST /v1/instances/nope/signals/a", None, 404, "workflow instance not found"),
    ],
)
async def test_a_wrong_call_is_refused(
    http: httpx.AsyncClient, call: str, body: str | None, status: int, reason: str
) -> None:
    instance = await start(http, businessKey="taken")
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


async def test_a_violated_schema_is_an_internal_error(http: httpx.AsyncClient) -> None:
    schema = {"required": ["sku"]}
    steps = [ORDER["steps"][0] | {"outputs_schema": schema}, ORDER["steps"][1]]
    definition = ORDER | {"id": "strict", "steps": steps, "input_schema": schema}
    assert (await http.post("/v1/definitions", json=definition)).status_code == 201
    assert (await http.get("/v1/definitions/strict")).json() == definition | {"version": 1}
    refused = await http.post("/v1/instances", json={"definitionId": "strict"})
    await start(http, definitionId="strict", variables={"sku": 1})
    [job] = await poll(http) or []
    failed, again = [await http.post(f"/v1/jobs/{job['id']}/complete", json={"workerId": "w"}) for _ in range(2)]
    for answer in (refused, failed):
        assert (answer.status_code, answer.json()["error"]) == (500, "internal-error")
        assert answer.json()["reason"].startswith("schema violation: ")
    assert again.status_code == 204


@pytest.mark.parametrize("path", ["/", "/v1/nope", "/v1/instances/", "/v1/jobs/x", "/metrics"])
async def test_an_unknown_path_is_a_plain_404(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_wrong_method_is_a_405(http: httpx.AsyncClient) -> None:
    answer = await http.put("/v1/instances")
    assert (answer.status_code, answer.content) == (405, b"")
