"""What a handler logs, through whatever library, carries its job."""

import asyncio
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from typing import Any

import pytest
import structlog
from aiohttp import web

from rochallor_worker import Job, Registry
from rochallor_worker.cli import logs
from rochallor_worker.logger import InJob, JobFilter, get_logger, job_keys
from rochallor_worker.testing import WorkerHarness
from rochallor_worker.traces import Active

KEYS = {"job_id": "job", "job_type": "pay", "instance_id": "instance", "attempt": 3}


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, restored afterwards."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], logger.level = before, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


async def run(handler: Callable[[Job], Any]) -> None:
    registry = Registry()
    registry.handler("pay")(handler)
    await WorkerHarness(registry).run("pay", attempt=3)


def log_through_each_library() -> None:
    logging.getLogger("shop").warning("charged %s", "Ada")
    structlog.stdlib.get_logger("shop").warning("charged Ada")
    get_logger("shop").warning("charged Ada")


async def in_the_loop(_: Job) -> None:
    await asyncio.sleep(0)
    log_through_each_library()


async def in_a_task(_: Job) -> None:
    await asyncio.create_task(asyncio.to_thread(log_through_each_library))


def in_a_thread(_: Job) -> None:
    log_through_each_library()


@pytest.mark.parametrize("handler", [in_the_loop, in_a_task, in_a_thread])
async def test_every_line_of_a_handler_carries_its_job(
    handler: Callable[[Job], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("INFO", "json")
    await run(handler)
    logging.getLogger("shop").warning("after the job")
    *lines, after = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line.items() >= KEYS.items()
        assert (line["event"], line["level"], line["logger"]) == ("charged Ada", "warning", "shop")
    assert after.keys() == {"timestamp", "level", "logger", "event"}


async def test_jobs_side_by_side_are_not_mixed_up(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")

    async def work(name: str) -> None:
        with InJob({"job_id": name}):
            for _ in range(3):
                await asyncio.sleep(0)
                logging.getLogger("shop").warning(name)

    await asyncio.gather(*(work(name) for name in "abc"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 9
    assert all(line["job_id"] == line["event"] for line in lines)


def test_a_key_of_the_line_itself_wins(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    with InJob({"job_id": "mine", "job_type": "pay"}):
        logging.getLogger("shop").warning("a", extra={"job_id": "another"})
    line = json.loads(capsys.readouterr().err)
    assert (line["job_id"], line["job_type"]) == ("another", "pay")


def test_text_cannot_move_the_cursor_or_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "text")
    try:
        raise ValueError("a\x1b[2Jb\u202ec")
    except ValueError:
        logging.getLogger("shop").exception("failed\n2026-01-01 all is well \x1b[31m")
    printed = capsys.readouterr().err
    assert not {"\x1b", "\u202e"} & set(printed)
    first, *_ = printed.splitlines()
    assert "all is well" in first


def test_on_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "text")
    with InJob({"job_id": "mine"}):
        logging.getLogger("shop").warning("charged")
    assert "job_id=mine" in capsys.readouterr().err


def test_what_the_worker_logs_about_an_attempt_has_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    with Active("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        get_logger("rochallor_worker.execution").info("postponed")
    get_logger("rochallor_worker.execution").info("draining")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["trace_id"], "trace_id" in second) == ("0af7651916cd43dd8448eb211c80319c", False)


@pytest.mark.parametrize("handler", [in_the_loop, in_a_thread])
async def test_a_user_of_the_library_gets_them_with_a_filter(
    root: logging.Logger, handler: Callable[[Job], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structlog.stdlib, "get_logger", logging.getLogger)  # unconfigured, it prints
    text = io.StringIO()
    stream = logging.StreamHandler(text)
    stream.addFilter(JobFilter())
    stream.setFormatter(logging.Formatter("%(job_id)s %(job_type)s %(instance_id)s %(attempt)s"))
    root.handlers[:] = [stream]
    await run(handler)
    assert text.getvalue().splitlines() == ["job pay instance 3"] * 3


def test_a_filter_keeps_what_a_record_has_and_is_empty_outside_of_jobs() -> None:
    record = logging.makeLogRecord({"msg": "a", "job_id": "another"})
    with InJob(KEYS):
        assert JobFilter().filter(record)
    assert (vars(record)["job_id"], vars(record)["job_type"]) == ("another", "pay")
    plain = logging.makeLogRecord({"msg": "a"})
    assert JobFilter().filter(plain)
    assert (vars(plain)["job_id"], vars(plain)["attempt"]) == ("", "")
    assert job_keys() == {}


async def test_a_task_that_outlives_its_job_logs_without_it() -> None:
    over = asyncio.Event()

    async def maintain() -> Mapping[str, object]:
        await over.wait()
        return job_keys()

    with InJob(KEYS):
        task = asyncio.create_task(maintain())
        await asyncio.sleep(0)
    over.set()
    assert await task == {}


def test_a_thread_of_a_handlers_own_needs_the_context() -> None:
    seen: list[object] = []
    with InJob(KEYS):
        context = copy_context()
        for target in (lambda: seen.append(dict(job_keys())), lambda: seen.append(dict(context.run(job_keys)))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [{}, KEYS]


async def test_a_request_that_is_not_http_is_not_logged(root: logging.Logger) -> None:
    """A gRPC client or a port scan at the status page's port; an error of ours is."""

    async def fail(_: web.BaseRequest) -> web.StreamResponse:
        raise ValueError("a bug")

    logs.configure("INFO", "json")
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written := io.StringIO())
    server = web.ServerRunner(web.Server(fail))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        for sent in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n b\x00\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(*server.addresses[0])
            writer.write(sent)
            assert b" 400 " in await reader.readline()
            writer.close()
        assert written.getvalue() == ""
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await reader.read()
        writer.close()
        assert "a bug" in written.getvalue()
    finally:
        await server.cleanup()
