"""The fifteen calls, an engine's right answers to them, and wrong ones."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import strategies as st

from rochallor_worker.engine.client import EngineClient, InstanceStatus
from rochallor_worker.errors import EngineError

CALLS: dict[str, Callable[[EngineClient], Awaitable[object]]] = {
    "UploadDefinition": lambda client: client.upload_definition({"id": "d"}),
    "GetDefinition": lambda client: client.get_definition("d"),
    "ListDefinitions": lambda client: client.list_definitions(),
    "StartInstance": lambda client: client.start_instance("d"),
    "GetInstance": lambda client: client.get_instance("i"),
    "ListInstances": lambda client: client.list_instances(status=InstanceStatus.ACTIVE),
    "GetInstanceHistory": lambda client: client.get_instance_history("i"),
    "CancelInstance": lambda client: client.cancel_instance("i"),
    "RetryStep": lambda client: client.retry_step("i", "s", {"a": 1}),
    "PollJobs": lambda client: client.poll_jobs("w", ["t"], 1, lease=60),
    "CompleteJob": lambda client: client.complete_job("j", "w", {}),
    "FailJob": lambda client: client.fail_job("j", "w", "boom", retryable=True),
    "ExtendJobLease": lambda client: client.extend_lease("j", "w", 60),
    "CompleteUserTask": lambda client: client.complete_user_task("i", "s"),
    "SignalWait": lambda client: client.signal_wait("i", "s"),
}
names = st.sampled_from(sorted(CALLS))

TIME = "2026-01-01T00:00:00.5Z"
LEASE_END = "2026-01-01T00:00:30.5Z"
VARIABLES: dict[str, Any] = {"text": "ü", "n": 1.5, "list": [None, {"a": True}]}
INSTANCE: dict[str, Any] = {
    "id": "i",
    "definitionId": "d",
    "definitionVersion": 1,
    "status": "ACTIVE",
    "currentStepIds": ["a"],
    "variables": VARIABLES,
    "startedAt": TIME,
}
JOB: dict[str, Any] = {
    "id": "j",
    "instanceId": "i",
    "stepExecutionId": "s",
    "jobType": "t",
    "retriesRemaining": 2,
    "variables": VARIABLES,
    "lockedAt": TIME,
    "lockExpiresAt": LEASE_END,
    "createdAt": TIME,
}
STEP = {"ID": "s", "InstanceID": "i", "StepID": "a", "StepType": "END", "AttemptNumber": 1, "Status": "COMPLETED"}
VERSION = {"id": "d", "version": 1, "name": "D", "uploadedAt": TIME}
ANSWERS: dict[str, Any] = {
    "UploadDefinition": VERSION,
    "GetDefinition": {**VERSION, "steps": []},
    "ListDefinitions": {"items": [VERSION], "total": 1},
    "StartInstance": INSTANCE,
    "GetInstance": INSTANCE,
    "ListInstances": {"items": [INSTANCE], "total": 1},
    "GetInstanceHistory": {"items": [STEP | {"StartedAt": TIME, "EndedAt": None, "FailureReason": None}]},
    "CancelInstance": INSTANCE,
    "RetryStep": INSTANCE,
    "PollJobs": {"jobs": [JOB]},
    "ExtendJobLease": {"accepted": True, "lockExpiresAt": LEASE_END},
}
"""Over REST, as JSON; the answers to other calls are empty."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 2**64, 10**30, -(10**400), 10**4299])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ACTIVE", TIME, "0000-00-00T99:99:99Z", "9999-12-31T23:59:59-14:00", TIME[:-1], "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*JOB, *STEP, "total", "accepted"]), inner)
    ),
    max_leaves=8,
)


@st.composite
def wrong(draw: st.DrawFn, right: Any) -> Any:
    """A JSON value in which one value, somewhere, is replaced, or one field is missing or added."""
    if not right or not isinstance(right, dict | list) or draw(st.integers(0, 3)) == 0:
        return draw(json_values)
    if isinstance(right, list):
        place = draw(st.integers(0, len(right) - 1))
        return [draw(wrong(item)) if number == place else item for number, item in enumerate(right)]
    field = draw(st.sampled_from(sorted(right)))
    match draw(st.sampled_from(["other", "other", "missing", "added"])):
        case "missing":
            return {name: value for name, value in right.items() if name != field}
        case "added":
            return {**right, draw(st.text(max_size=5)): draw(json_values)}
    return {**right, field: draw(wrong(right[field]))}


def to_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes that were cut off, or partly replaced."""
    start = draw(st.integers(0, len(content)))
    if draw(st.booleans()):
        return content[:start]
    end = draw(st.integers(start, min(len(content), start + 8)))
    inserted = draw(
        st.binary(max_size=8) | st.sampled_from([b"\xff", b'"', b"[" * 5000, b"9" * 5000, b'{"id":1,"id":2}'])
    )
    return content[:start] + inserted + content[end:]


async def outcome(client: EngineClient, name: str) -> object:
    """Return the result of a call, or its `EngineError`. Any other error is raised, and fails the test."""
    async with asyncio.timeout(60):
        try:
            return await CALLS[name](client)
        except EngineError as error:
            found = error
    assert "\n" not in str(found)
    return found
