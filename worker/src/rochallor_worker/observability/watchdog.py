"""Finds the handler that blocks the event loop. It runs in a thread: a blocked loop cannot report itself."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Iterable
from types import CodeType, FrameType

from rochallor_worker.logger import get_logger
from rochallor_worker.registry import Handler

BLOCKED_SECONDS = 1.0
"""The loop counts as blocked when it has not turned for this long."""
ASLEEP_SECONDS = 0.05
"""A thread that uses no CPU time for this long sleeps; one that waits for the interpreter tries every 5 ms."""

STARVED = 1 / 3
"""The loop's share of the interpreter below which it is others who block it."""

log = get_logger(__name__)


class Watchdog:
    """A thread that checks that the loop turns and, when it does not, logs where it is stuck, once per blockage.

    Only one thread at a time runs Python code. When the loop has hardly used the CPU, and yet does not sleep, it waits
    for the interpreter, and the handler on the loop is not to blame: the thread that used most CPU time is logged.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, handlers: Iterable[Handler]) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._handlers = {code: handler.job_type for handler in handlers if (code := _code(handler)) is not None}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching the loop of the calling thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(BLOCKED_SECONDS / 2):
            turned = threading.Event()
            used_before = _cpu_seconds()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # the loop is closed
                return
            if turned.wait(BLOCKED_SECONDS):
                continue
            self._log_block(used_before)
            while not turned.wait(BLOCKED_SECONDS):
                if self._stopped.is_set():
                    return

    def _log_block(self, used_before: dict[int, float]) -> None:
        """Log what blocks the loop, by where the threads are and by how much CPU time each has used since."""
        frames = sys._current_frames()  # noqa: SLF001 — documented, for debuggers
        used_now = _cpu_seconds()
        used = {thread: seconds - used_before.get(thread, 0.0) for thread, seconds in used_now.items()}
        used.pop(threading.get_ident(), None)  # where nothing gets any CPU, this thread would have used the most
        # several threads in compiled code may use more than one CPU, while none of them keeps the interpreter
        interpreter = min(sum(used.values()), BLOCKED_SECONDS)
        if used.get(self._loop_thread, 0.0) < interpreter * STARVED and not self._loop_sleeps(used_now):
            busiest = max(used, key=lambda thread: used[thread])
            self._log_starved(busiest, frames.get(busiest), used[busiest])
        elif (frame := frames.get(self._loop_thread)) is not None:
            job_type, place = self._where(frame)
            if job_type is None:
                log.error("the event loop is blocked", place=place, blocked_seconds=BLOCKED_SECONDS)
                return
            log.error(
                "a handler blocks the event loop, and every other job with it: use a plain def, or await",
                job_type=job_type,
                place=place,
                blocked_seconds=BLOCKED_SECONDS,
            )

    def _log_starved(self, thread: int, frame: FrameType | None, cpu_seconds: float) -> None:
        job_type, place = (None, "") if frame is None else self._where(frame)
        names = {each.ident: each.name for each in threading.enumerate()}
        log.error(
            "a thread keeps the interpreter busy, and blocks the event loop and every other job: run it with "
            'executor="process", or use a lower parallelism and more pods',
            job_type=job_type,
            place=place,
            thread=names.get(thread, ""),
            cpu_seconds=round(cpu_seconds, 3),
        )

    def _loop_sleeps(self, used: dict[int, float]) -> bool:
        """Whether the loop's thread waits for something other than the interpreter."""
        self._stopped.wait(ASLEEP_SECONDS)
        return _cpu_seconds().get(self._loop_thread) == used.get(self._loop_thread)

    def _where(self, frame: FrameType) -> tuple[str | None, str]:
        """Return the job type whose handler runs in the thread, if any, and the place in its code."""
        at: FrameType | None = frame
        while at is not None:
            if (job_type := self._handlers.get(at.f_code)) is not None:
                return job_type, _place(at)
            at = at.f_back
        return None, _place(frame)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _cpu_seconds() -> dict[int, float]:
    """Return the CPU time that each thread has used; empty where the system does not provide it."""
    used: dict[int, float] = {}
    if sys.platform == "linux":
        for thread in threading.enumerate():
            if thread.ident is not None and thread.native_id is not None:
                with contextlib.suppress(OSError):  # it has ended
                    # Linux's id of a thread's clock: pthread_getcpuclockid may crash if the thread has ended
                    used[thread.ident] = time.clock_gettime((~thread.native_id << 3) | 6)
    return used


def _code(handler: Handler) -> CodeType | None:
    function = handler.function
    return getattr(function, "__code__", None) or getattr(getattr(function, "__call__", None), "__code__", None)  # noqa: B004
