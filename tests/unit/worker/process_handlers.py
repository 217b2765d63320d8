"""Handlers that tests run in child processes, which import this module."""

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import structlog

from rochallor_worker import Job, NonRetryableError, Postpone, Registry, RochallorError

registry = Registry()


@registry.handler("pid", executor="process")
def pid(_: Job) -> dict[str, Any]:
    return {"pid": os.getpid(), "main": threading.current_thread() is threading.main_thread()}


@registry.handler("echo", executor="process")
def echo(job: Job) -> dict[str, Any]:
    return dict(job.variables)


@registry.handler("grow", executor="process")
def grow(job: Job) -> dict[str, Any]:
    _kept.append(b"x" * job.variables["bytes"])
    return pid(job)


@registry.handler("grow-slowly", executor="process")
def grow_slowly(job: Job) -> None:
    parts = []
    for _ in range(job.variables["bytes"] // 1000):
        parts.append(os.urandom(1000))  # noqa: PERF401 — each one is held by a local variable


@registry.handler("grow-in-another-process", executor="process")
def grow_in_another_process(job: Job) -> dict[str, Any]:
    code = f"x = bytearray({job.variables['bytes']})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return {"error": ended.stderr.split()[-1]}


_kept: list[bytes] = []


@registry.handler("fail", executor="process")
def fail(job: Job) -> None:
    raise (NonRetryableError if job.variables.get("final") else ValueError)("no such card")


@registry.handler("postpone", executor="process")
def postpone(job: Job) -> None:
    try:
        raise Postpone("the shop is closed", after=job.variables["after"])
    except Postpone as wish:
        if job.variables.get("grouped"):
            raise ExceptionGroup("one of two", [wish, ValueError("no such card")]) from None
        if job.variables.get("final"):
            raise ExceptionGroup("one of two", [wish, NonRetryableError("no such card")]) from None
        raise


@registry.handler("not-json", executor="process")
def not_json(_: Job) -> Any:
    return {"x": {1, 2}}


@registry.handler("end", executor="process")
def end(job: Job) -> None:
    how = job.variables["how"]
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.Signals[how])


@registry.handler("wait", executor="process")
def wait(job: Job) -> None:
    """Wait for ever, with a process of its own; write down which processes they are, and how it was interrupted."""
    folder = Path(job.variables["folder"])
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (folder / "part").write_text(f"{os.getpid()} {helper.pid}")
        (folder / "part").rename(folder / "pids")
        while True:
            time.sleep(600)
    finally:
        (folder / "cancelled").write_text(str(job.cancelled))


@registry.handler("stubborn", executor="process")
def stubborn(job: Job) -> None:
    while True:
        try:
            wait(job)
        except SystemExit:
            continue


@registry.handler("talk", executor="process")
def talk(job: Job) -> dict[str, Any]:
    job.log.warning("charged %s", "Ada", amount=3)
    logging.getLogger("shop").warning("charged %s", "Ada", extra={"amount": 3})
    structlog.stdlib.get_logger("shop").warning("charged Ada", amount=3)
    print("printed")
    instance = asyncio.run(job.instance())
    return {"deadline": job.deadline, "status": instance.status, "cancelled": job.cancelled}


@registry.handler("hostile", executor="process")
def hostile(_: Job) -> None:
    """Write what is no answer into each pipe there is."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"log": 5}\n')
        except OSError:
            continue
    time.sleep(600)


@registry.handler("close", executor="process")
def close(_: Job) -> None:
    os.closerange(3, 64)
    time.sleep(600)


@registry.handler("leave-a-thread", executor="process")
def leave_a_thread(job: Job) -> None:
    def ask_on() -> None:
        try:
            while True:
                asyncio.run(job.instance())
        except RochallorError as error:
            told = Path(job.variables["folder"]) / "told"
            told.with_suffix(".part").write_text(str(error))
            told.with_suffix(".part").rename(told)

    threading.Thread(target=ask_on).start()
