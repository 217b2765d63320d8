"""Reads the engines' databases regularly, in the background, and judges whether anybody serves the jobs that wait."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.backlog.jobs import Jobs, unserved
from rochallor_operator.errors import DegradedError
from rochallor_operator.observe import Verdict
from rochallor_operator.runtime.metrics import BACKLOG_READ_ERRORS, Backlog
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.runtime.text import listed
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from rochallor_operator.names import Key, Manifest

    Read = Callable[[str, Collection[str]], Awaitable[Mapping[str, Jobs]]]

log = logging.getLogger(__name__)

PAUSE_S: Final = 30.0
"""The approximate interval between two reads of a database."""
FRESH_S: Final = 90.0
"""How long a read counts; afterwards nothing is known."""
START_S: Final = 120.0
"""How long after its start the operator may not know all resources yet, and finds no type unserved."""
_NAMED: Final = 5
"""The most types that a message names."""
_NOT_READ: Final = Verdict(None, Reason.STARTING, "the engine's database has not been read yet")


@dataclass(eq=False)
class _Database:
    """A database that resources name by the same connection string."""

    connection: str = field(repr=False)
    users: set[Key] = field(default_factory=set)
    jobs: Mapping[str, Jobs] = field(default_factory=dict)
    """What the last good read found."""
    read_at: float | None = None
    problem: DegradedError | None = None
    """Why the last read failed."""

    def __str__(self) -> str:
        """For logs: nothing of the connection string."""
        return f"database of {min(self.users, default=None)}"

    @property
    def namespace(self) -> str:
        """For the queue, where namespaces take turns."""
        return min(self.users).namespace if self.users else ""


@dataclass
class _User:
    """A resource that names a database; None when the connection string isn't there."""

    job_types: tuple[str, ...]
    verdict: Verdict
    database: _Database | None = None


class Backlogs:
    """Whose jobs wait and run. `sees_all`: whether the operator sees the resources of all namespaces."""

    def __init__(self, sees_all: Callable[[], bool], clock: Callable[[], float], read: Read | None = None) -> None:
        self._sees_all: Final = sees_all
        self._clock: Final = clock
        self._read: Final = read or _read
        self._began: Final = clock()
        self._types: dict[Key, frozenset[str]] = {}
        """The job types that resources list, whether or not they name a database."""
        self._users: dict[Key, _User] = {}
        self._databases: dict[str, _Database] = {}
        self._on_change: Callable[[Key], None] = lambda _: None
        pause = Backoff(first=PAUSE_S, cap=PAUSE_S)
        self._queue: Final = WorkQueue(
            self._check, group=lambda database: database.namespace, while_unsettled=pause, after_error=pause
        )

    async def run(self, on_change: Callable[[Key], None]) -> None:
        """Read until cancelled; on_change is called for a resource whose verdict has changed."""
        self._on_change = on_change
        await self._queue.run()

    def note_types(self, key: Key, resource: Manifest) -> None:
        """Note which job types a resource lists. One that another operator manages, or that is suspended, counts too:
        its jobs are nobody's mistake."""
        found = resource.get("spec", {}).get("jobTypes") or ()
        self._types[key] = frozenset(map(str, found))

    def want(self, key: Key, resource: Manifest, job_types: tuple[str, ...], connection: str | DegradedError) -> None:
        """Read the database of a resource regularly; an error is why there is no connection string.

        Until the first read, the condition in the resource's status stands.
        """
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = _User(job_types, _last_verdict(resource))
        user.job_types = job_types
        if user.database is None or user.database.connection != connection:
            self._leave(key, user)
        if isinstance(connection, DegradedError):
            user.verdict = Verdict(None, connection.reason, str(connection))
        elif user.database is None:
            user.database = self._databases.setdefault(connection, _Database(connection))
            user.database.users.add(key)
            self._queue.add(user.database)

    def forget(self, key: Key) -> None:
        """Stop reading for a resource."""
        user = self._users.pop(key, None)
        if user is not None:
            self._leave(key, user)

    def gone(self, key: Key) -> None:
        """Drop a deleted resource."""
        self.forget(key)
        self._types.pop(key, None)

    def verdict(self, key: Key) -> Verdict | None:
        """Whether the waiting jobs are served; None for a resource without a database."""
        user = self._users.get(key)
        return None if user is None else user.verdict

    def metrics(self) -> Iterator[Backlog]:
        """The jobs in the databases of resources, where a read is fresh. A listed type without jobs has none."""
        for database in self._databases.values():
            if not self._is_fresh(database):
                continue
            lost = {job_type: jobs.waiting for job_type, jobs in self._unserved(database).items()}
            for key in database.users:
                found = {job_type: database.jobs.get(job_type, Jobs()) for job_type in self._users[key].job_types}
                yield Backlog(key.namespace, key.name, found, lost if self._knows_all else {})

    def _leave(self, key: Key, user: _User) -> None:
        database, user.database = user.database, None
        if database is not None:
            database.users.discard(key)
            if not database.users:
                del self._databases[database.connection]

    async def _check(self, database: _Database) -> Result:
        if not database.users:
            return Result.SETTLED
        asked_for = {job_type for key in database.users for job_type in self._users[key].job_types}
        try:
            database.jobs = await self._read(database.connection, asked_for)
        except DegradedError as error:
            BACKLOG_READ_ERRORS.labels(reason=error.reason).inc()
            if str(error) != str(database.problem):
                keys = {"resource": str(database), "reason": str(error.reason), "error": str(error)}
                log.info("can't read the jobs in a database", extra=keys)
            database.problem = error
        else:
            database.read_at, database.problem = self._clock(), None
        verdict = self._verdict(database)
        for key in database.users:
            user = self._users[key]
            if verdict not in {None, user.verdict}:
                user.verdict = verdict
                self._on_change(key)
        return Result.UNSETTLED

    def _verdict(self, database: _Database) -> Verdict | None:
        """None while the last one stands."""
        if not self._is_fresh(database):
            problem = database.problem
            return None if problem is None else Verdict(None, problem.reason, str(problem))
        lost = list(self._unserved(database))
        if not lost:
            return Verdict(True, Reason.SERVED, "a RochallorWorker lists each type of jobs that wait")
        if not self._knows_all:
            return None
        types = "type" if len(lost) == 1 else "types"
        sees = "" if self._sees_all() else " that this operator sees"
        sentence = f"jobs of {types} {listed(list(map(repr, lost)), _NAMED)} wait in the engine's database, and"
        return Verdict(False, Reason.UNSERVED, f"{sentence} no RochallorWorker{sees} lists the {types}")

    def _unserved(self, database: _Database) -> dict[str, Jobs]:
        return unserved(database.jobs, frozenset().union(*self._types.values()))

    def _is_fresh(self, database: _Database) -> bool:
        return database.read_at is not None and self._clock() - database.read_at <= FRESH_S

    @property
    def _knows_all(self) -> bool:
        return self._clock() - self._began >= START_S


async def _read(connection: str, asked_for: Collection[str]) -> Mapping[str, Jobs]:
    # PostgreSQL's library takes 8 MiB, which an operator without databases doesn't need.
    module: Any = await asyncio.to_thread(import_module, "rochallor_operator.backlog.database")
    jobs: Mapping[str, Jobs] = await module.read(connection, asked_for)
    return jobs


def _last_verdict(resource: Manifest) -> Verdict:
    """The condition in a resource's status: an operator that has just started must not withdraw it."""
    for condition in resource.get("status", {}).get("conditions", []):
        if condition["type"] == "BacklogServed":
            known = {"True": True, "False": False}
            return Verdict(known.get(condition["status"]), condition["reason"], condition["message"])
    return _NOT_READ
