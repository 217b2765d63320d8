"""Answers that no engine gives: whatever comes back, the caller gets a result or an `EngineError`."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.base import EngineClient, InstanceStatus
from rochallor_worker.engine.grpc import GrpcClient
from rochallor_worker.engine.rest import RestClient
from rochallor_worker.errors import AnswerLost, EngineError

CALLS: dict[str, Callable[[EngineClient], Awaitable[object]]] = {
    "UploadDefinition": lambda client: client.upload_definition({"id": "d"}),
    "GetDefinition": lambda client: client.get_definition("d"),
    "ListDefinitions": lambda client: client.list_definitions(),
    "StartInstance": lambda client: client.start_instance("d"),
    "GetInstance": lambda client: client.get_instance("i"),
    "ListInstances": lambda client: client.list_instances(status=InstanceStatus.ACTIVE),
    "GetInstanceHistory": lambda client: client.get_instance_history("i"),
    "CancelInstance": lambda client: client.cancel_instance("i"),
    "PollJobs": lambda client: client.poll_jobs("w", ["t"], 1),
    "CompleteJob": lambda client: client.complete_job("j", "w", {}),
    "FailJob": lambda client: client.fail_job("j", "w", "boom", retryable=True),
    "CompleteUserTask": lambda client: client.complete_user_task("i", "s"),
    "SignalWait": lambda client: client.signal_wait("i", "s"),
}
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.sampled_from(sorted(CALLS))


async def outcome(client: EngineClient, name: str) -> object:
    """Return what a call gives: its result, or its `EngineError`. Anything else is raised, and fails the test."""
    async with asyncio.timeout(10):
        try:
            return await CALLS[name](client)
        except EngineError as error:
            found = error
    assert "\n" not in str(found)
    return found


class Peer:
    """Answers every call with `answer`, whatever it is."""

    def __init__(self) -> None:
        self.answer = b""

    async def rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, write the answer as it is, close."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def grpc(self) -> grpc.GenericRpcHandler:
        async def answer(_request: bytes, _context: object) -> bytes:
            return self.answer

        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
        return grpc.method_handlers_generic_handler("workflow.v1.WorkflowEngine", dict.fromkeys(CALLS, handler))


@pytest.fixture
async def rest() -> AsyncIterator[tuple[Peer, EngineClient]]:
    peer = Peer()
    async with await asyncio.start_server(peer.rest, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with RestClient(f"http://127.0.0.1:{port}", timeout=1) as client:
            yield peer, client


@pytest.fixture
async def over_grpc() -> AsyncIterator[tuple[Peer, EngineClient]]:
    peer = Peer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((peer.grpc(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with GrpcClient(f"127.0.0.1:{port}") as client:
            yield peer, client
    finally:
        await server.stop(None)


KEYS = """id jobs items total status variables version definitionId definitionVersion instanceId jobType startedAt
    error reason message ID StepID Status AttemptNumber"""
keys = st.sampled_from(KEYS.split())
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ACTIVE", "2026-01-01T00:00:00Z", "0000-00-00T99:99:99Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=12,
)
HEADERS = [
    b"content-type: application/json",
    b"content-type: text/html; charset=rot13",
    b"content-encoding: gzip",
    b"content-encoding: deflate",
    b"transfer-encoding: chunked",
    b"content-length: 1000",
    b"content-length: -1",
    b"location: http://elsewhere/login",
    b"content-type: \xff",
    b"",
    b"no colon",
]
bodies = st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode())
answers = st.builds(
    lambda status, headers, body, cut: b"".join(
        [b"HTTP/1.1 %d Whatever\r\n" % status, *[header + b"\r\n" for header in headers], b"\r\n", body]
    )[:cut],
    st.sampled_from([200, 201, 204, 206, 302, 304, 400, 401, 404, 408, 409, 410, 418, 429, 500, 502, 599, 999]),
    st.lists(st.sampled_from(HEADERS), max_size=3),
    bodies,
    st.just(None) | st.integers(0, 60),
)
HTML = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>\n<h1>Please log in</h1>"
DEEP = b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000


@fuzz
@given(name=names, answer=answers | st.binary(max_size=60))
@example(name="PollJobs", answer=DEEP)
@example(name="PollJobs", answer=DEEP.replace(b"200", b"400"))
@example(name="GetInstance", answer=HTML.replace(b"200 OK", b"502 Bad Gateway"))
async def test_any_answer_over_rest(rest: tuple[Peer, EngineClient], name: str, answer: bytes) -> None:
    peer, client = rest
    peer.answer = answer
    await outcome(client, name)


@pytest.mark.parametrize("name", CALLS)
async def test_a_login_page_is_no_answer(rest: tuple[Peer, EngineClient], name: str) -> None:
    peer, client = rest
    peer.answer = HTML
    assert type(await outcome(client, name)) is AnswerLost


LATE = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_ACTIVE")
LATE.started_at.seconds = 2**62
NANOS = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_ACTIVE")
NANOS.started_at.nanos = -(2**31)
NAN = pb.WorkflowDefinition(id="d")
NAN.metadata.fields["x"].number_value = float("nan")
DEEP_VARIABLES = pb.GetInstanceResponse(instance={"id": "i", "status": "INSTANCE_STATUS_ACTIVE"})
_value = DEEP_VARIABLES.instance.variables.fields["x"]
for _ in range(60):
    _value = _value.struct_value.fields["x"]
_value.number_value = 1

HOSTILE = [
    ("GetInstance", pb.GetInstanceResponse(instance=LATE)),
    ("GetInstance", pb.GetInstanceResponse(instance=NANOS)),
    ("GetInstance", DEEP_VARIABLES),
    ("GetInstance", pb.GetInstanceResponse()),
    ("GetDefinition", pb.GetDefinitionResponse(definition=NAN)),
]


@pytest.mark.parametrize(("name", "message"), HOSTILE)
async def test_a_message_that_means_nothing(over_grpc: tuple[Peer, EngineClient], name: str, message: Any) -> None:
    peer, client = over_grpc
    peer.answer = message.SerializeToString()
    assert type(await outcome(client, name)) is AnswerLost


fields = st.integers(1, 15)
varints = st.integers(0, 2**64 - 1)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


messages = st.recursive(
    st.binary(max_size=10),
    lambda inner: st.lists(
        st.builds(lambda field, body: varint(field << 3 | 2) + varint(len(body)) + body, fields, inner)
        | st.builds(lambda field, number: varint(field << 3) + varint(number), fields, varints)
        | st.builds(lambda field, raw: varint(field << 3 | 1) + raw, fields, st.binary(min_size=8, max_size=8)),
        max_size=4,
    ).map(b"".join),
    max_leaves=8,
)


@fuzz
@given(name=names, answer=messages)
async def test_any_answer_over_grpc(over_grpc: tuple[Peer, EngineClient], name: str, answer: bytes) -> None:
    peer, client = over_grpc
    peer.answer = answer
    await outcome(client, name)


async def test_an_answer_beyond_four_megabytes_is_taken(over_grpc: tuple[Peer, EngineClient]) -> None:
    peer, client = over_grpc
    big = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_ACTIVE")
    big.variables.fields["text"].string_value = "x" * 8_000_000
    peer.answer = pb.GetInstanceResponse(instance=big).SerializeToString()
    assert (await client.get_instance("i")).variables == {"text": "x" * 8_000_000}
