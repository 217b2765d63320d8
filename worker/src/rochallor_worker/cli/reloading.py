"""`run --reload`: a worker in a process of its own, started again when the code has changed."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

from rochallor_worker.logger import get_logger

LOOK_SECONDS = 0.5
"""How often the files are looked at."""
_NOT_OURS = {"__pycache__", "node_modules", "site-packages"}

Files = dict[str, tuple[int, int]]
"""Time of the last change, in ns, and size of each file."""

log = get_logger(__name__)


async def keep_running(command: Sequence[str], folder: Path) -> int:
    """Run a worker until SIGTERM or SIGINT, and another one when a Python file below `folder` has changed.

    Signals are passed on, so that the worker drains, or with the second one ends at once; returns its exit status. A
    worker that ends by itself, as with a syntax error, is started again after the next change.
    """
    stopping = asyncio.Event()
    process: Process | None = None

    def stop() -> None:
        stopping.set()
        _terminate(process)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    stopped = asyncio.create_task(stopping.wait())
    status = 0
    while not stopping.is_set():
        changed = asyncio.create_task(_changed(folder, await asyncio.to_thread(files, folder)))
        # in a group of its own: Ctrl-C would reach it twice
        process = await asyncio.create_subprocess_exec(*command, process_group=0)
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({changed, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not stopping.is_set():
            log.warning("the worker has ended; it starts again when a file changes", status=process.returncode)
            await asyncio.wait({changed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        elif changed.done():
            log.info("a file has changed: the worker starts again when its jobs have ended", file=changed.result())
            _terminate(process)
        status = await ended
        changed.cancel()
    return status


def files(folder: Path) -> Files:
    """Return the Python files below a folder; not those of virtual environments, or in folders whose name has a dot
    in front."""
    found: Files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_OURS and not name.startswith(".")]
        if "pyvenv.cfg" in names:
            folders.clear()
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(place, name)  # noqa: PTH118 — many of them, twice a second
                with contextlib.suppress(OSError):  # deleted meanwhile
                    state = os.stat(path)  # noqa: PTH116
                    found[path] = (state.st_mtime_ns, state.st_size)
    return found


async def _changed(folder: Path, before: Files) -> str:
    """Wait until a file is new, gone or different; return its name."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = await asyncio.to_thread(files, folder)
        if now != before:
            return min(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))


def _terminate(process: Process | None) -> None:
    if process is not None and process.returncode is None:
        process.terminate()
