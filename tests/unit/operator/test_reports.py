"""What a worker says of itself is untrusted. (That a real pod's address is asked: tests/integration.)"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.names import Key
from rochallor_operator.reasons import REPORTED, Reason
from rochallor_operator.reports import BODY_LIMIT, METRICS_LIMIT, Report, Reports, ask, is_busy, parse, to_ask
from unit.operator.samples import pod

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rochallor_operator.names import Manifest


@pytest.mark.parametrize("word", sorted(REPORTED))
def test_a_word_and_its_sentence(word: str) -> None:
    assert parse(f"{word}: http://engine:8080 does not answer\n".encode()) == (
        word,
        "http://engine:8080 does not answer",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok\n",
        b"EngineUnreachable",
        b"EngineUnreachable: ",
        b"engineunreachable: gone\n",
        b"Draining: 3 jobs run\n",
        b"Available: all is well\n",
        b"EngineUnreachable: one\ntwo\n",
        b"EngineUnreachable: a\x1b[31mcolour\n",
    ],
)
def test_anything_else_is_nothing(body: bytes) -> None:
    assert parse(body) is None


@given(st.binary(max_size=BODY_LIMIT) | st.text().map(lambda text: f"EngineUnreachable: {text}".encode()))
def test_a_report_is_always_one_printable_line(body: bytes) -> None:
    found = parse(body)
    assert found is None or (found[0] in REPORTED and found[1].isprintable())


def running(name: str, created: str = "2026-01-01T00:00:00Z", ready: str = "False", **status: Any) -> Manifest:
    conditions = [{"type": "Ready", "status": ready}]
    return pod(name, created=created, **({"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions} | status))


def test_the_newest_pod_that_runs_and_is_not_ready_is_asked() -> None:
    ending = running("ending", "2026-01-05T00:00:00Z")
    ending["metadata"]["deletionTimestamp"] = "2026-01-05T00:00:00Z"
    old, new = running("old"), running("new", "2026-01-02T00:00:00Z")
    others = [
        running("pending", "2026-01-03T00:00:00Z", phase="Pending"),
        running("ready", ready="True"),
        pod("no-status"),
    ]
    assert to_ask([old, new, ending, *others, running("no-address", podIP="")]) == new
    assert to_ask([ending, *others]) is None


A = TypeVar("A")


async def answering(answer: bytes, question: Callable[[Manifest, int], Awaitable[A]]) -> A:
    """What the question makes of a pod's answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await question(running("payments-x"), server.sockets[0].getsockname()[1])


async def test_an_answer_with_503_is_a_report() -> None:
    body = b"EngineUnreachable: no answer\n"
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert await answering(head + body, ask) == Report("EngineUnreachable", "pod payments-x: no answer")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\nEngineUnreachable: no answer",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 -\r\nContent-Length: 1025\r\n\r\nEngineUnreachable: " + b"x" * (BODY_LIMIT - 18),
        b"no http at all\r\n\r\n",
        b"",
    ],
)
async def test_any_other_answer_is_nothing(answer: bytes) -> None:
    assert await answering(answer, ask) is None


RATIO = b"rochallor_worker_utilization_ratio "


@pytest.mark.parametrize(
    ("body", "busy"),
    [
        (b"# HELP rochallor_worker_utilization_ratio x\n" + RATIO + b"0.25\nother 1\n", True),
        (RATIO + b"5e-07\n", True),
        (RATIO + b"0.0", False),
        (b"", None),
        (RATIO + b"NaN\n", None),
        (RATIO + b"-\n", None),
        (b"x" + RATIO + b"1\n", None),
        (b"x" * METRICS_LIMIT + b"\n" + RATIO + b"1\n", None),
    ],
    ids=["busy", "a-moment", "idle", "nothing", "not-a-number", "not-a-float", "another", "much"],
)
async def test_whether_a_worker_is_busy(body: bytes, busy: bool | None) -> None:
    assert await answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, is_busy) is busy


@pytest.mark.parametrize("question", [ask, is_busy])
async def test_a_pod_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, question: Callable[[Manifest, int], Awaitable[object]]
) -> None:
    monkeypatch.setattr("rochallor_operator.reports.TIMEOUT_S", 0.05)
    silent: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0) as server:
        assert await question(running("payments-x"), server.sockets[0].getsockname()[1]) is None
        (writer,) = silent
        writer.close()
        await writer.wait_closed()


async def test_a_closed_port_is_nothing() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    assert await ask(running("payments-x"), port) is None


KEY = Key("shop", "payments")


async def others_ended() -> None:
    """Wait for what still runs beside the test."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


async def test_the_first_answer_is_waited_for_and_later_ones_are_told_when_they_are_there() -> None:
    words = [b"EngineUnreachable"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 -\r\n\r\n%s: no\n" % words[-1])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reports, pods = Reports(server.sockets[0].getsockname()[1]), [running("payments-x")]
        assert await reports.of(KEY, pods) == Report(Reason.ENGINE_UNREACHABLE, "pod payments-x: no")
        await others_ended()
        for word, report in ((b"TopicNotFound", Report(Reason.TOPIC_NOT_FOUND, "pod payments-x: no")), (b"no", None)):
            words.append(word)
            await reports.of(KEY, pods)
            await others_ended()
            assert await reports.of(KEY, pods) == report
            await others_ended()
        assert await reports.of(KEY, [running("payments-x", ready="True")]) is None
        await others_ended()


async def test_a_pod_that_does_not_answer_holds_up_no_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a NetworkPolicy that forbids it, none does; and an edit of another resource would wait for all of them."""
    monkeypatch.setattr("rochallor_operator.reports.TIMEOUT_S", 60)
    monkeypatch.setattr("rochallor_operator.reports.PATIENCE_S", 0.01)
    silent: list[asyncio.StreamWriter] = []
    asked = asyncio.Event()

    def keep_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)
        asked.set()

    async with asyncio.timeout(10), await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        reports, pods = Reports(server.sockets[0].getsockname()[1]), [running("payments-x")]
        for _ in range(5):
            assert await reports.of(KEY, pods) is None
        await asked.wait()
        reports.forget(KEY)
        await others_ended()
        (writer,) = silent  # it was asked once
        writer.close()
        await writer.wait_closed()
