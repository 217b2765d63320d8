"""Answers over gRPC that no engine gives: the caller always gets a result or an `EngineError`."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import CALLS, names, outcome
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.client import Connection
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.errors import Unreadable


class Peer:
    """Answers every call with `answer`."""

    def __init__(self) -> None:
        self.answer = b""

    def handlers(self) -> grpc.GenericRpcHandler:
        async def answer(_request: bytes, _context: object) -> bytes:
            return self.answer

        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
        return grpc.method_handlers_generic_handler("workflow.v1.WorkflowEngine", dict.fromkeys(CALLS, handler))


@pytest.fixture
async def over_grpc() -> AsyncIterator[tuple[Peer, GrpcClient]]:
    peer = Peer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((peer.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with GrpcClient(f"127.0.0.1:{port}", timeout=50) as client:
            yield peer, client
    finally:
        await server.stop(None)


LATE = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_ACTIVE")
LATE.started_at.seconds = 2**62
NANOS = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_ACTIVE")
NANOS.started_at.nanos = -(2**31)
NAN = pb.WorkflowDefinition(id="d")
NAN.metadata.fields["x"].number_value = float("nan")
DEEP_VARIABLES = pb.GetInstanceResponse(instance={"id": "i", "status": "INSTANCE_STATUS_ACTIVE"})
DEEP_JOB = pb.Job(id="deep", instance_id="i")
for _variables in (DEEP_VARIABLES.instance.variables, DEEP_JOB.variables):
    _value = _variables.fields["x"]
    for _ in range(60):
        _value = _value.struct_value.fields["x"]
    _value.number_value = 1

OUT_OF_RANGE = pb.ExtendJobLeaseResponse(accepted=True)
OUT_OF_RANGE.lock_expires_at.seconds = 2**62

HOSTILE = [
    ("GetInstance", pb.GetInstanceResponse(instance=LATE)),
    ("GetInstance", pb.GetInstanceResponse(instance=NANOS)),
    ("GetInstance", DEEP_VARIABLES),
    ("GetInstance", pb.GetInstanceResponse()),
    ("GetDefinition", pb.GetDefinitionResponse(definition=NAN)),
    ("ExtendJobLease", OUT_OF_RANGE),
    ("ExtendJobLease", pb.ExtendJobLeaseResponse(accepted=True)),
    ("RetryStep", pb.RetryStepResponse()),
]


@pytest.mark.parametrize(("name", "message"), HOSTILE)
async def test_a_message_without_meaning(over_grpc: tuple[Peer, GrpcClient], name: str, message: Any) -> None:
    peer, client = over_grpc
    peer.answer = message.SerializeToString()
    assert type(await outcome(client, name)) is Unreadable


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


@examples(2)
@given(name=names, answer=messages)
async def test_any_answer(over_grpc: tuple[Peer, GrpcClient], name: str, answer: bytes) -> None:
    peer, client = over_grpc
    peer.answer = answer
    await outcome(client, name)


async def test_an_answer_beyond_four_megabytes_is_read(over_grpc: tuple[Peer, GrpcClient]) -> None:
    peer, client = over_grpc
    big = pb.WorkflowInstance(id="i", status="INSTANCE_STATUS_ACTIVE")
    big.variables.fields["text"].string_value = "x" * 8_000_000
    peer.answer = pb.GetInstanceResponse(instance=big).SerializeToString()
    assert (await client.get_instance("i")).variables == {"text": "x" * 8_000_000}


@examples(0.5)
@given(header=st.tuples(st.from_regex(r"\A[A-Za-z0-9_.-]{1,9}(-bin)?\Z"), st.from_regex(r"\A[ -~]{0,9}\Z")))
@example(header=("X-Trace-Bin", "a"))
async def test_any_header_that_may_be_sent(over_grpc: tuple[Peer, GrpcClient], header: tuple[str, str]) -> None:
    peer, client = over_grpc
    peer.answer = b""
    async with GrpcClient(client._target, Connection(headers=(header,))) as other:
        await outcome(other, "PollJobs")


async def test_a_job_that_cannot_be_read_does_not_cost_the_others(over_grpc: tuple[Peer, GrpcClient]) -> None:
    peer, client = over_grpc
    late, good = pb.Job(id="late", instance_id="i"), pb.Job(id="good", instance_id="i")
    late.lock_expires_at.seconds = 2**62
    peer.answer = pb.PollJobsResponse(jobs=[late, good, pb.Job(id="of nothing")]).SerializeToString()
    assert [job.id for job in await client.poll_jobs("w", ["t"], 3)] == ["late", "good"]
    for bad in (DEEP_JOB.SerializeToString(), b"\x0a\x01\xff", b"\xff"):  # too many levels, no UTF-8, no message
        peer.answer = b"".join(b"\x0a" + varint(len(job)) + job for job in (bad, good.SerializeToString()))
        assert [job.id for job in await client.poll_jobs("w", ["t"], 3)] == ["good"]


def frame(kind: int, flags: int, content: bytes, stream: int = 1) -> bytes:
    """An HTTP/2 frame."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def headers(*fields: tuple[bytes, bytes], end: bool = False) -> bytes:
    """A HEADERS frame; each field is written literally, as HPACK allows for names and values below 127 bytes."""
    block = b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)
    return frame(1, 4 | end, block)


STATUS, TYPE = (b":status", b"200"), (b"content-type", b"application/grpc")
SETTINGS = frame(4, 0, b"", 0) + frame(4, 1, b"", 0)
MESSAGE = b"\x00" + len(b"\x0a\x00").to_bytes(4, "big") + b"\x0a\x00"
"""Uncompressed, its length, and one empty message as its field 1."""
statuses = st.sampled_from([*[b"200"] * 8, b"404", b"502", b"99", b""]) | st.just(b"200")
trailers = st.lists(
    st.tuples(
        st.sampled_from([b"grpc-status", b"grpc-status", b"grpc-message", b"grpc-status-details-bin", b"X", b""]),
        st.sampled_from([b"0", b"0", b"5", b"99", b"-1", b"abc", b"", b"%zz%00", b"9" * 40]) | st.binary(max_size=20),
    ),
    max_size=3,
)
bodies = st.just(MESSAGE) | st.builds(
    lambda flag, length, body: bytes([flag]) + length.to_bytes(4, "big") + body,
    st.integers(0, 3),
    st.sampled_from([0, 2, 5, 2**31, 2**32 - 1]),
    st.binary(max_size=10),
)
streams = st.builds(
    lambda status, kind, body, end, cut: b"".join(
        [
            SETTINGS,
            headers((b":status", status), (b"content-type", kind)),
            frame(0, 0, body),
            headers(*end, end=True),
        ]
    )[:cut],
    statuses,
    st.sampled_from([b"application/grpc", b"application/grpc", b"text/html", b""]),
    bodies,
    trailers,
    st.just(None) | st.integers(18, 120),
)


async def serve(answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait for the end of the request, a DATA frame with the flag END_STREAM; answer, close."""
    try:
        await reader.readexactly(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        kind, flags = -1, 0
        while (kind, flags & 1) != (0, 1):
            head = await reader.readexactly(9)
            kind, flags = head[3], head[4]
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == 4 and not flags:
                writer.write(SETTINGS)
        writer.write(answer.removeprefix(SETTINGS))
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


@examples(0.5)
@given(name=names, answer=streams | st.binary(max_size=60))
@example("CompleteJob", SETTINGS + headers(STATUS, TYPE) + headers((b"grpc-status", b"0"), end=True))
@example(
    "CompleteJob", SETTINGS + headers(STATUS, TYPE) + frame(0, 0, MESSAGE) + headers((b"grpc-status", b"0"), end=True)
)
async def test_any_stream(name: str, answer: bytes) -> None:
    async with await asyncio.start_server(partial(serve, answer), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with GrpcClient(f"127.0.0.1:{port}", timeout=0.5) as client:
            await outcome(client, name)
