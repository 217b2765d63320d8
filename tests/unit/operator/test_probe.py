"""A worker's own answers are not trusted. (That a real pod is asked: tests/integration.)"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.names import Key
from rochallor_operator.observe import Problem
from rochallor_operator.pods.probe import (
    BODY_LIMIT,
    METRICS_LIMIT,
    Readiness,
    ask,
    is_busy,
    parse_answer,
    pod_to_ask,
    warning,
)
from rochallor_operator.status.reasons import FROM_WORKERS, Reason
from unit.operator.samples import pod

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rochallor_operator.names import Manifest


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that answers is never too late, however slow the machine is."""
    for limit in ("TIMEOUT_S", "PATIENCE_S"):
        monkeypatch.setattr(f"rochallor_operator.pods.probe.{limit}", 60)


@pytest.mark.parametrize("reason", sorted(FROM_WORKERS))
def test_a_reason_and_its_sentence(reason: str) -> None:
    assert parse_answer(f"{reason}: http://engine:8080 does not answer\n".encode()) == (
        reason,
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
        b"LeaseNotRenewable: not of a worker that is not ready\n",
        b"Available: all is well\n",
        b"EngineUnreachable: one\ntwo\n",
        b"EngineUnreachable: a\x1b[31mcolour\n",
    ],
)
def test_any_other_answer_counts_as_none(body: bytes) -> None:
    assert parse_answer(body) is None


@given(st.binary(max_size=BODY_LIMIT) | st.text().map(lambda text: f"EngineUnreachable: {text}".encode()))
def test_an_answer_is_always_one_printable_line(body: bytes) -> None:
    found = parse_answer(body)
    assert found is None or (found[0] in FROM_WORKERS and found[1].isprintable())


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
    assert pod_to_ask([old, new, ending, *others, running("no-address", podIP="")]) == new
    assert pod_to_ask([ending, *others]) is None


A = TypeVar("A")


async def answering(answer: bytes, question: Callable[[Manifest, int], Awaitable[A]]) -> A:
    """The result of a question to a pod that gives this answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await question(running("payments-x"), server.sockets[0].getsockname()[1])


async def test_an_answer_with_503_is_a_problem() -> None:
    body = b"EngineUnreachable: no answer\n"
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert await answering(head + body, ask) == Problem("EngineUnreachable", "pod payments-x: no answer")


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
async def test_any_other_http_answer_counts_as_none(answer: bytes) -> None:
    assert await answering(answer, ask) is None


lease_warning = partial(warning, reason=Reason.LEASE_NOT_RENEWABLE)
WARNING = b"LeaseNotRenewable: handlers may take 45 s, the engine's lease ends after 30 s"


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, WARNING + b"\n", "handlers may take 45 s, the engine's lease ends after 30 s"),
        (200, b"ok\n", ""),
        (200, b"EngineUnreachable: no answer\n", ""),
        (200, b"BreakerOpen: charge-card: no answer\n", ""),
        (200, b"LeaseNotRenewable: a\x1b[31mcolour\n", ""),
        (200, WARNING + b"x" * BODY_LIMIT, None),
        (503, WARNING + b"\n", None),
        (503, b"Draining: no more jobs are taken\n", None),
        (404, b"", None),
    ],
)
async def test_the_warning_of_a_ready_worker(status: int, body: bytes, sentence: str | None) -> None:
    head = b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    assert await answering(head + body, lease_warning) == sentence


async def test_each_reason_is_a_question_of_its_own() -> None:
    body = b"HTTP/1.1 200 OK\r\n\r\nBreakerOpen: all runs of charge-card fail\n"
    assert await answering(body, partial(warning, reason=Reason.BREAKER_OPEN)) == "all runs of charge-card fail"


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


@pytest.mark.parametrize("question", [ask, is_busy, lease_warning])
async def test_a_pod_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, question: Callable[[Manifest, int], Awaitable[object]]
) -> None:
    monkeypatch.setattr("rochallor_operator.pods.probe.TIMEOUT_S", 0.2)

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()  # until the other side gives up
        finally:
            writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        assert await question(running("payments-x"), server.sockets[0].getsockname()[1]) is None
        await others_ended()


async def test_a_closed_port_counts_as_no_answer() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    assert await ask(running("payments-x"), port) is None


KEY = Key("shop", "payments")


async def others_ended() -> None:
    """Wait for background tasks of the test."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


async def test_the_first_answer_is_waited_for_and_later_ones_are_reported_when_they_arrive() -> None:
    words = [b"EngineUnreachable"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 -\r\n\r\n%s: no\n" % words[-1])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reports, pods = Readiness(server.sockets[0].getsockname()[1]), [running("payments-x")]
        assert await reports.problem(KEY, pods) == Problem(Reason.ENGINE_UNREACHABLE, "pod payments-x: no")
        await others_ended()
        for word, report in ((b"TopicNotFound", Problem(Reason.TOPIC_NOT_FOUND, "pod payments-x: no")), (b"no", None)):
            words.append(word)
            await reports.problem(KEY, pods)
            await others_ended()
            assert await reports.problem(KEY, pods) == report
            await others_ended()
        assert await reports.problem(KEY, [running("payments-x", ready="True")]) is None
        await others_ended()


async def test_another_sentence_with_the_same_reason_is_not_reported_for_a_while() -> None:
    """The pods of an unreachable engine report now a refused connection, now no answer."""
    said, now = "EngineUnreachable: refused", 0.0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 503 -\r\n\r\n{said}\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reports = Readiness(server.sockets[0].getsockname()[1], lambda: now)

        async def reported(pod: str) -> str:
            for _ in range(2):
                report = await reports.problem(KEY, [running(pod)])
                await others_ended()
            assert report is not None
            return f"{report.reason}: {report.message}"

        assert await reported("a") == "EngineUnreachable: pod a: refused"
        said = "EngineUnreachable: no answer in time"
        for later in (20.0, 300.0, 599.0):
            now = later
            assert await reported("b") == "EngineUnreachable: pod a: refused"
        now = 601.0
        assert await reported("b") == "EngineUnreachable: pod b: no answer in time"
        said = "EngineRefuses: 401"
        assert await reported("b") == "EngineRefuses: pod b: 401"


async def test_a_pod_that_does_not_answer_delays_no_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a NetworkPolicy that forbids it, none does; and an edit of another resource would wait for all of them."""
    monkeypatch.setattr("rochallor_operator.pods.probe.PATIENCE_S", 0.01)
    silent: list[asyncio.StreamWriter] = []
    asked = asyncio.Event()

    def keep_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)
        asked.set()

    async with asyncio.timeout(50), await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        reports, pods = Readiness(server.sockets[0].getsockname()[1]), [running("payments-x")]
        for _ in range(5):
            assert await reports.problem(KEY, pods) is None
        await asked.wait()
        reports.forget(KEY)
        await others_ended()
        (writer,) = silent  # it was asked once
        writer.close()
        await writer.wait_closed()
