"""Reads of the engines' databases on a virtual clock. (With PostgreSQL: tests/integration.)"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from rochallor_operator.backlog.jobs import WAITED_S, Jobs, unserved
from rochallor_operator.backlog.reader import FRESH_S, PAUSE_S, START_S, Backlogs
from rochallor_operator.errors import DegradedError
from rochallor_operator.names import Key
from rochallor_operator.runtime import metrics
from rochallor_operator.runtime.metrics import MOST_UNSERVED
from rochallor_operator.status.reasons import Reason
from unit.operator.samples import resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

KEY, OTHER = Key("shop", "payments"), Key("mail", "letters")
TYPES = ("charge-card",)
DSN = "host=db password=planted-7f3a"
OLD = Jobs(3, 1, WAITED_S)
AWAY = DegradedError(Reason.DATABASE_UNREACHABLE, "no answer")


class Databases:
    """What each database holds, or the error of its reads."""

    def __init__(self, **found: Jobs) -> None:
        self.found: dict[str, dict[str, Jobs] | DegradedError] = {DSN: dict(found)}
        self.reads: list[str] = []
        self.asked_for: Collection[str] = ()
        self.changed: list[Key] = []

    async def read(self, connection: str, asked_for: Collection[str]) -> dict[str, Jobs]:
        self.reads.append(connection)
        self.asked_for = asked_for
        found = self.found[connection]
        if connection == "hanging":
            await asyncio.Event().wait()
        if isinstance(found, DegradedError):
            raise found
        return found

    @asynccontextmanager
    async def followed(self, *, sees_all: bool = True, old: bool = True) -> AsyncIterator[Backlogs]:
        """Reads in the background; the operator has been running for long if `old`."""
        backlogs = Backlogs(lambda: sees_all, asyncio.get_running_loop().time, self.read)
        running = asyncio.ensure_future(backlogs.run(self.changed.append))
        await asyncio.sleep(START_S if old else 0)
        yield backlogs
        running.cancel()


def follow(backlogs: Backlogs, key: Key = KEY, connection: str | DegradedError = DSN, **status: object) -> None:
    live = resource() | {"status": status}
    backlogs.note_types(key, live)
    backlogs.want(key, live, TYPES, connection)


def shown(backlogs: Backlogs, key: Key = KEY) -> tuple[bool | None, str, str]:
    verdict = backlogs.verdict(key)
    assert verdict is not None
    return verdict.served, verdict.reason, verdict.message


def exported(backlogs: Backlogs) -> list[str]:
    registry = CollectorRegistry()
    registry.register(metrics.Backlogs(backlogs.metrics))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def condition(status: str, reason: str, message: str) -> list[dict[str, str]]:
    return [{"type": "BacklogServed", "status": status, "reason": reason, "message": message}]


@pytest.mark.looptime
async def test_types_that_are_listed_are_served_and_a_listed_type_without_jobs_has_none() -> None:
    databases = Databases()
    async with databases.followed() as backlogs:
        follow(backlogs)
        assert shown(backlogs) == (None, "Starting", "the engine's database has not been read yet")
        assert exported(backlogs) == []
        await asyncio.sleep(1)
        assert shown(backlogs)[:2] == (True, "Served")
        labels = 'job_type="charge-card",namespace="shop"'
        assert exported(backlogs) == [
            f'rochallor_operator_backlog_jobs{{{labels},state="waiting",worker="payments"}} 0.0',
            f'rochallor_operator_backlog_jobs{{{labels},state="running",worker="payments"}} 0.0',
            f'rochallor_operator_backlog_age_seconds{{{labels},worker="payments"}} 0.0',
        ]
    assert databases.changed == [KEY]
    assert set(databases.asked_for) == set(TYPES)


@pytest.mark.looptime
@pytest.mark.parametrize(("sees_all", "sees"), [(True, ""), (False, " that this operator sees")])
async def test_a_type_that_nobody_lists(sees_all: bool, sees: str) -> None:
    databases = Databases(refund=OLD, young=Jobs(9, 0, WAITED_S - 1), busy=Jobs(0, 5, 0))
    async with databases.followed(sees_all=sees_all) as backlogs:
        follow(backlogs)
        await asyncio.sleep(1)
        sentence = "jobs of type 'refund' wait in the engine's database, and no RochallorWorker"
        assert shown(backlogs) == (False, "Unserved", f"{sentence}{sees} lists the type")
        line = 'rochallor_operator_unserved_jobs{job_type="refund",namespace="shop",worker="payments"} 3.0'
        assert exported(backlogs)[-1] == line
        backlogs.note_types(OTHER, resource(jobTypes=["refund"], suspend=True))
        await asyncio.sleep(PAUSE_S)
        assert shown(backlogs)[0] is True
        backlogs.gone(OTHER)
        await asyncio.sleep(PAUSE_S)
        assert shown(backlogs)[0] is False


@pytest.mark.looptime
async def test_many_types_are_named_in_part() -> None:
    databases = Databases(**{f"t{number:02}": OLD for number in range(2 * MOST_UNSERVED)})
    async with databases.followed() as backlogs:
        follow(backlogs)
        await asyncio.sleep(1)
        assert "jobs of types 't00', 't01', 't02', 't03', 't04' and 35 more wait" in shown(backlogs)[2]
        assert sum("unserved" in line for line in exported(backlogs)) == MOST_UNSERVED


@pytest.mark.looptime
async def test_counts_that_move_are_no_change() -> None:
    databases = Databases(refund=OLD)
    async with databases.followed() as backlogs:
        follow(backlogs)
        await asyncio.sleep(1)
        for age in range(100, 200, 10):
            databases.found[DSN] = {"refund": Jobs(age, age, age)}
            await asyncio.sleep(PAUSE_S)
    assert databases.changed == [KEY]
    assert len(databases.reads) >= 10


@pytest.mark.looptime
async def test_what_was_read_counts_until_it_is_too_old() -> None:
    databases = Databases()
    async with databases.followed() as backlogs:
        follow(backlogs)
        await asyncio.sleep(1)
        databases.found[DSN] = AWAY
        await asyncio.sleep(FRESH_S - PAUSE_S)
        assert shown(backlogs)[1] == "Served"
        assert exported(backlogs)
        await asyncio.sleep(2 * PAUSE_S)
        assert shown(backlogs) == (None, "DatabaseUnreachable", "no answer")
        assert exported(backlogs) == [], "unknown is not zero"
        databases.found[DSN] = {}
        await asyncio.sleep(PAUSE_S)
        assert shown(backlogs)[1] == "Served"


@pytest.mark.looptime
async def test_a_database_is_read_once_for_all_its_resources_and_no_more_without_them() -> None:
    databases = Databases()
    async with databases.followed() as backlogs:
        follow(backlogs)
        follow(backlogs, OTHER)
        await asyncio.sleep(1)
        assert databases.reads == [DSN]
        backlogs.forget(KEY)
        assert backlogs.verdict(KEY) is None
        await asyncio.sleep(PAUSE_S)
        assert databases.reads == [DSN] * 2
        backlogs.gone(OTHER)
        await asyncio.sleep(3 * PAUSE_S)
        assert databases.reads == [DSN] * 2
        assert exported(backlogs) == []


@pytest.mark.looptime
async def test_a_database_that_hangs_delays_no_other() -> None:
    databases = Databases()
    databases.found |= {"hanging": {}}
    async with databases.followed() as backlogs:
        follow(backlogs, OTHER, "hanging")
        follow(backlogs)
        await asyncio.sleep(1)
        assert shown(backlogs)[1] == "Served"
        assert shown(backlogs, OTHER)[1] == "Starting"


@pytest.mark.looptime
async def test_another_connection_string_is_another_database() -> None:
    databases = Databases(refund=OLD)
    databases.found["new"] = {}
    async with databases.followed() as backlogs:
        follow(backlogs)
        await asyncio.sleep(1)
        follow(backlogs, connection="new")
        assert shown(backlogs)[1] == "Unserved"
        await asyncio.sleep(1)
        assert shown(backlogs)[1] == "Served"
        missing = DegradedError(Reason.SECRET_NOT_FOUND, "Secret 'db' does not exist")
        follow(backlogs, connection=missing)
        assert shown(backlogs) == (None, "SecretNotFound", "Secret 'db' does not exist")
        assert exported(backlogs) == []
        await asyncio.sleep(3 * PAUSE_S)
    assert databases.reads == [DSN, "new"]


@pytest.mark.looptime
async def test_after_a_restart_the_last_condition_stands_until_the_operator_knows_better() -> None:
    databases = Databases(refund=OLD)
    last = condition("True", "Served", "all of them")
    async with databases.followed(old=False) as backlogs:
        follow(backlogs, conditions=last)
        await asyncio.sleep(START_S - PAUSE_S)
        assert shown(backlogs) == (True, "Served", "all of them"), "a resource that lists it may not be known yet"
        assert not [line for line in exported(backlogs) if "unserved" in line]
        await asyncio.sleep(2 * PAUSE_S)
        assert shown(backlogs)[1] == "Unserved"


@pytest.mark.looptime
async def test_a_failed_read_is_counted_and_logged_once_without_the_connection_string(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    databases = Databases()
    databases.found[DSN] = AWAY
    before = metrics.BACKLOG_READ_ERRORS.labels(reason="DatabaseUnreachable")._value.get()
    async with databases.followed() as backlogs:
        follow(backlogs)
        await asyncio.sleep(3 * PAUSE_S)
        assert shown(backlogs) == (None, "DatabaseUnreachable", "no answer")
    assert metrics.BACKLOG_READ_ERRORS.labels(reason="DatabaseUnreachable")._value.get() - before >= 3
    (record,) = [each for each in caplog.records if each.name.startswith("rochallor_operator")]
    assert record.__dict__["resource"] == "database of shop/payments"
    assert "planted" not in repr(vars(record))


JOBS = st.builds(Jobs, st.integers(0, 5), st.integers(0, 5), st.floats(0, 2 * WAITED_S))
NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, JOBS), st.sets(NAMES), st.sets(NAMES))
def test_a_type_is_unserved_if_it_has_waited_and_nobody_lists_it(
    found: dict[str, Jobs], listed: set[str], more: set[str]
) -> None:
    lost = unserved(found, listed)
    assert lost.keys() == {name for name, jobs in found.items() if jobs.waiting and jobs.age >= WAITED_S} - listed
    assert list(lost) == sorted(lost)
    assert unserved(found, listed | more).keys() == lost.keys() - more, "another resource never makes a type unserved"
