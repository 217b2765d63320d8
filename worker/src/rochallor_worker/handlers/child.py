"""The child's side of `processes`: a process that runs handlers, one job at a time, until its pipe closes.

Requests come as pickles on what was standard input; answers leave as lines of JSON on what was standard output: a child
may have broken its memory, and what it says must not be able to run code in the worker. Handlers that read and print
get an empty input, and the worker's stderr.
"""

import contextlib
import importlib
import json
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rochallor_worker.engine.client import Instance
from rochallor_worker.handlers.failure import describe, permanent, postponement, traceback_of
from rochallor_worker.handlers.results import outcome_of
from rochallor_worker.handlers.signature import Signature, read
from rochallor_worker.job import Job, cancel, log_keys
from rochallor_worker.logger import InJob, Message, job_keys
from rochallor_worker.outcome import Completed, Failed
from rochallor_worker.traces import Active

HEADER_BYTES = 4
"""Each request is preceded by its length."""
MAX_LINE_CHARS = 100_000
"""Longest text of a log line that is handed to the worker."""


class Setup(NamedTuple):
    """The first request: how the process is set up, before a handler's module is imported."""

    log_level: int
    memory: int | None
    prepare: Callable[[], None] | None


class Run(NamedTuple):
    """The request to run the function `name` of `module`; `job` holds the job's plain fields."""

    module: str
    name: str
    job: dict[str, Any]
    non_retryable: tuple[type[BaseException], ...]
    traceparent: str = ""


class Reply(NamedTuple):
    """The worker's reply to a question of the handler: a value, or the error to raise."""

    value: Any
    error: Exception | None = None


class Worker:
    """The worker as the child sees it, over the pipe. Any thread of a handler may speak to it."""

    def __init__(self, requests: int, answers: int) -> None:
        self.runs: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self._requests, self._answers = requests, answers
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._one_line, self._one_question = threading.Lock(), threading.Lock()

    def receive(self) -> Any:
        """Return the next request. Raises `EOFError` when the pipe has closed."""
        size = int.from_bytes(self._exactly(HEADER_BYTES), "big")
        return pickle.loads(self._exactly(size))  # noqa: S301 — from the worker, which started this process

    def listen(self) -> None:
        """Read requests. The pipe closes only when the worker has died: then end at once."""
        while True:
            try:
                request = self.receive()
            except EOFError:
                os.killpg(0, signal.SIGKILL)  # with what the handler has started: nobody is left to wait for it
            (self._replies if isinstance(request, Reply) else self.runs).put(request)

    def tell(self, **answer: Any) -> None:
        """Write one answer."""
        line = json.dumps(answer, default=str).encode() + b"\n"
        with self._one_line:
            while line:
                line = line[os.write(self._answers, line) :]

    def ask(self, question: str) -> Any:
        """Ask about the running job; return the reply, or raise it."""
        with self._one_question:
            self.tell(ask=question)
            reply = self._replies.get()
        if reply.error is not None:
            raise reply.error
        return reply.value

    def _exactly(self, size: int) -> bytes:
        # no buffered file: its lock, held by a thread that waits, would abort the end of the process
        data = b""
        while len(data) < size:
            part = os.read(self._requests, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class _Forward(logging.Handler):
    """Hands each record to the worker, which logs it in its own format."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.msg
            own = message.keys if isinstance(message, Message) else _extra(record)
            text = message.event if isinstance(message, Message) else record.getMessage()
            self._worker.tell(
                log=record.name,
                level=record.levelno,
                text=text[:MAX_LINE_CHARS],
                keys={**job_keys(), **own},
                exception=traceback_of(record.exc_info[1]) if record.exc_info and record.exc_info[1] else "",
            )
        except Exception:  # noqa: BLE001 — as all handlers of `logging`: an unprintable object costs its line
            self.handleError(record)


_PLAIN = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


def main() -> None:
    """Run handlers until SIGTERM, which also interrupts the one that runs, or until the pipe closes."""
    worker = Worker(os.dup(0), os.dup(1))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    setup: Setup = worker.receive()
    with contextlib.suppress(OSError):  # when memory runs out, this process is to end and not the worker
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    logging.basicConfig(level=setup.log_level, handlers=[_Forward(worker)])
    logging.captureWarnings(True)
    if setup.memory is not None:
        _limit_memory(setup.memory)
    if setup.prepare is not None:
        setup.prepare()
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=worker.listen, name="requests", daemon=True).start()
    while True:
        _run(worker, worker.runs.get(), setup.memory)


def _limit_memory(limit: int) -> None:
    """Refuse this process, and each one that it starts, more than `limit` bytes of memory of its own."""
    import resource  # noqa: PLC0415 — not on every system; here it is: children are started by POSIX means

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)  # raised where the handler is, so that what it has opened is closed


def _run(worker: Worker, run: Run, limit: int | None) -> None:
    job = Job(
        **run.job,
        _limit=lambda: float(worker.ask("deadline")),
        _fetch_instance=lambda _: _instance(worker),
    )

    def interrupt(number: int, frame: object) -> None:
        cancel(job)
        _end(number, frame)

    signal.signal(signal.SIGTERM, interrupt)
    with Active(run.traceparent), _traced(run.traceparent), InJob(log_keys(job)):
        answer = _answer(run, job, limit)
    signal.signal(signal.SIGTERM, _end)
    if job.cancelled:  # the handler has caught the exit
        sys.exit()
    worker.tell(**answer, memory=memory())


@contextlib.contextmanager
def _traced(traceparent: str) -> Iterator[None]:
    """Make the run's span, which the worker exports, the parent of spans that the handler makes and exports here."""
    if not traceparent:
        yield
        return
    from opentelemetry import context  # noqa: PLC0415 — the worker has it where it traces, and only then
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)


async def _instance(worker: Worker) -> Instance:
    instance: Instance = worker.ask("instance")
    return instance


def _answer(run: Run, job: Job, limit: int | None) -> Mapping[str, Any]:
    try:
        call, signature = handler_of(run.module, run.name)
        outcome = outcome_of(call(job), signature)
        trace = ""
    except BaseException as error:  # noqa: BLE001 — a handler may raise SystemExit too
        kinds = run.non_retryable
        if (wish := postponement(error, kinds)) is not None:
            return {"postponed": wish.after, "message": wish.message}
        hint = ""
        if isinstance(error, MemoryError):
            traceback.clear_frames(error.__traceback__)  # to go on, this needs what they hold
            hint = f": a process may use {limit // 1024**2} MiB here" if limit is not None else ""
        outcome, trace = (
            Failed(f"{describe(error, kinds)}{hint}", retryable=not permanent(error, kinds)),
            traceback_of(error),
        )
    if isinstance(outcome, Completed):
        return {"result": outcome.variables}
    return {"failed": outcome.message, "retryable": outcome.retryable, "trace": trace}


@cache
def handler_of(module: str, name: str) -> tuple[Callable[[Job], Any], Signature | None]:
    """Import a handler's module; return its function, as one of the job alone, and its signature."""
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    signature = read(function)
    return function if signature is None else signature.bound(function, {}), signature


def memory() -> int:
    """Return the bytes of memory that this process uses; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
