"""Run the tests of a module against its mutants: each in a fork of one process that has collected them."""

import inspect
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.main import pytest_runtestloop

from mutants.mutate import mutants

MAX_SLOWDOWN = 10.0
"""A mutant is killed if its tests take this many times as long as without a mutation, plus 5 s."""


class Hunt:
    """A pytest plugin that runs the collected tests once per mutant and not otherwise."""

    def __init__(self, module: str, ends_at: float) -> None:
        self.survivors: list[str] = []
        self.made = 0
        self.problem = ""
        self._module = module
        self._ends_at = ends_at

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        module = sys.modules[self._module]
        file = str(module.__file__)
        began = time.monotonic()
        if session.testsfailed or not _survives(session, lambda: None, 600):
            self.problem = "its tests fail without a mutation"
            return True
        limit = 5 + MAX_SLOWDOWN * (time.monotonic() - began)
        for mutant in mutants(Path(file).read_text(), file):
            if time.monotonic() > self._ends_at:
                self.problem = f"only {self.made} of its mutants were tried in time"
                break
            self.made += 1
            if _survives(session, partial(_become, module, mutant.code), limit):
                self.survivors.append(mutant.name)
        return True


def _survives(session: pytest.Session, mutate: Callable[[], None], limit: float) -> bool:
    """Run the tests in a fork, for `limit` seconds at most; return whether all pass. One that cannot load is killed."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            session.config.pluginmanager.unregister(name="terminalreporter")
            mutate()
            pytest_runtestloop(session)
            status = 1 if session.testsfailed else 0
        finally:
            os._exit(status)
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], limit)[0]:
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        os.close(handle)


def _become(module: ModuleType, code: CodeType) -> None:
    """Replace a loaded module with another version, also for modules that have imported from it already."""
    fresh = ModuleType(module.__name__)
    exec(code, vars(fresh))  # noqa: S102 — a mutant is code
    _take_over(module, fresh, module.__name__)


def _take_over(live: Any, fresh: Any, module: str) -> None:
    """Give a module or class the functions of another version of it, and a module the constants."""
    for name, new in list(vars(fresh).items()):
        old = vars(live).get(name)
        if inspect.isclass(old) and old.__module__ == module:
            _take_over(old, new, module)
        elif isinstance(live, ModuleType) and isinstance(new, int | float | str) and not name.startswith("__"):
            setattr(live, name, new)
        else:
            for before, after in zip(_functions(old), _functions(new), strict=False):
                if before.__module__ == module:
                    before.__code__ = after.__code__
                    before.__defaults__, before.__kwdefaults__ = after.__defaults__, after.__kwdefaults__


def _functions(member: Any) -> Iterator[FunctionType]:
    """Yield the function in a member of a module or class, without its wrappers."""
    if isinstance(member, property):
        member = member.fget
    member = inspect.unwrap(member) if callable(member) else member
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    if isinstance(member, FunctionType):
        yield member
