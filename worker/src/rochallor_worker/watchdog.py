"""Names the handler that blocks the event loop: nothing on the loop itself can, while it is blocked."""

import asyncio
import sys
import threading
from collections.abc import Iterable
from types import CodeType, FrameType

import structlog

from rochallor_worker.registry import Handler

BLOCKED_SECONDS = 1.0
"""The loop is blocked when it has not turned for so long."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Watchdog:
    """A thread that asks the loop to turn and, when it does not, logs where it is stuck. Once per blockage."""

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
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # the loop is closed
                return
            if turned.wait(BLOCKED_SECONDS):
                continue
            self._tell(sys._current_frames().get(self._loop_thread))  # noqa: SLF001 — documented, for debuggers
            while not turned.wait(BLOCKED_SECONDS):
                if self._stopped.is_set():
                    return

    def _tell(self, frame: FrameType | None) -> None:
        if frame is None:
            return
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        at: FrameType | None = frame
        while at is not None:
            if (job_type := self._handlers.get(at.f_code)) is not None:
                place = f"{at.f_code.co_filename}:{at.f_lineno}"
                log.error(
                    "a handler blocks the event loop, and every other job with it: use a plain def, or await",
                    job_type=job_type,
                    place=place,
                    blocked_seconds=BLOCKED_SECONDS,
                )
                return
            at = at.f_back
        log.error("the event loop is blocked", place=place, blocked_seconds=BLOCKED_SECONDS)


def _code(handler: Handler) -> CodeType | None:
    function = handler.function
    return getattr(function, "__code__", None) or getattr(getattr(function, "__call__", None), "__code__", None)  # noqa: B004
