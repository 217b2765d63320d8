"""Any request over REST: a wrong one gets a 4xx, and the only 5xx are those that engine.md lists."""

import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from rochallor_worker.devengine import DevEngine
from unit.devengine.definitions import ORDER

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Generation

LISTED = re.compile(
    r'job ".*" not found|definition not found|no rows in result set|step ".*" not found|OFFSET must not be negative'
    r"|SQLSTATE (22P05|22021)",
    re.DOTALL,
)
"""engine.md and contract: an unknown job, an unknown definition for a new instance, an instance that cannot be
cancelled, an unknown step of a failed instance, a negative page, and U+0000."""
PATHS = [
    "/v1/definitions",
    "/v1/definitions/{}",
    "/v1/definitions/{}/versions/{}",
    "/v1/instances",
    "/v1/instances/{}",
    "/v1/instances/{}/history",
    "/v1/instances/{}/cancel",
    "/v1/jobs/poll",
    "/v1/jobs/{}/complete",
    "/v1/jobs/{}/fail",
    "/v1/jobs/{}/heartbeat",
    "/v1/instances/{}/steps/{}/retry",
    "/v1/instances/{}/user-tasks/{}/complete",
    "/v1/instances/{}/signals/{}",
    "/healthz",
    "/{}",
]
FIELDS = """id name description steps type jobType retryCount nextStep metadata definitionId definitionVersion variables
    businessKey reason leaseSeconds outputs_schema input_schema required properties workerId jobTypes maxJobs
    errorMessage retryable completedBy autoStartNextWorkflow"""
QUERIES = ["keyword", "page", "pageSize", "definitionId", "status", "businessKey"]

words = st.sampled_from(["order", "pick", "a", "e", "SERVICE_TASK", "END", "w", "1", "ACTIVE"]) | st.text(max_size=6)
numbers = st.integers() | st.sampled_from([0, -1, 1, 200, 2**31, 2**63, 2**64, 10**400]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS.split()) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)
bodies = values.map(lambda value: json.dumps(value, allow_nan=True).encode("utf-8", "surrogatepass")) | st.binary(
    max_size=20
)
parts = st.sampled_from(["order", "JOB", "INSTANCE", "0", "1", "%00", "%FF", "..", "a"]) | st.text(max_size=5)


@pytest.fixture(params=["A", "fenced"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        DevEngine(generation=cast("Generation", request.param)) as engine,
        httpx.AsyncClient(base_url=engine.url, timeout=60) as client,
    ):
        assert (await client.post("/v1/definitions", json=ORDER)).status_code == 201
        yield client


@examples(5)
@given(
    method=st.sampled_from(["GET", "POST", "POST", "PUT"]),
    path=st.sampled_from(PATHS),
    ids=st.tuples(parts, parts),
    query=st.dictionaries(st.sampled_from(QUERIES), words | st.integers().map(str), max_size=3),
    body=bodies,
)
@example("POST", "/v1/jobs/poll", ("", ""), {}, b"[" * 100_000)
@example("POST", "/v1/instances", ("", ""), {}, b'{"definitionId":"order","variables":{"x":' + b"9" * 400 + b"}}")
@example(
    "POST", "/v1/instances", ("", ""), {}, b'{"definitionId":"order","variables":' + b'{"x":' * 900 + b"1" + b"}" * 901
)
@example("POST", "/v1/jobs/poll", ("", ""), {}, b'{"workerId":"w","jobTypes":["pick"],"maxJobs":9223372036854775807}')
@example("GET", "/v1/definitions", ("", ""), {"page": "9" * 30, "pageSize": "200"}, b"")
@example("GET", "/v1/definitions", ("", ""), {"page": "9" * 5000}, b"")
async def test_no_request_causes_an_unlisted_5xx(
    http: httpx.AsyncClient, method: str, path: str, ids: tuple[str, str], query: dict[str, str], body: bytes
) -> None:
    instance = (await http.post("/v1/instances", json={"definitionId": "order"})).json()["id"]
    [job] = (await http.post("/v1/jobs/poll", json={"workerId": "w", "jobTypes": ["pick"], "maxJobs": 1})).json()[
        "jobs"
    ]
    known = {"JOB": job["id"], "INSTANCE": instance}
    try:
        request = http.build_request(
            method, path.format(*(known.get(part, part) for part in ids)), params=query, content=body
        )
    except (httpx.InvalidURL, UnicodeEncodeError):
        return
    answer = await http.send(request)
    if answer.status_code >= 500:
        assert answer.status_code == 500
        assert answer.json().keys() == {"error", "reason"}
        assert answer.json()["error"] == "internal-error"
        assert LISTED.search(answer.json()["reason"]), answer.text
    elif answer.status_code in {400, 409}:
        assert answer.json()["error"] in {"bad-request", "conflict"}
        assert answer.json()["reason"]
    elif answer.status_code not in {404, 405}:
        assert answer.is_success
