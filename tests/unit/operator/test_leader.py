"""Leader election on a virtual clock: never two leaders, whatever the network does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from datetime import datetime
from typing import TYPE_CHECKING, Any

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rochallor_operator.cluster.leader import Elector, Timing
from rochallor_operator.errors import KubernetesError, LeadershipLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rochallor_operator.names import Manifest


class FakeLeases:
    """A Lease with optimistic locking. `network` is awaited before and after each request and may raise or hang."""

    def __init__(self) -> None:
        self.live: Manifest | None = None
        self.writes = 0

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        assert (kind, namespace, name) == ("Lease", "system", "operator")
        return self.live

    async def create(self, manifest: Manifest) -> Manifest:
        if self.live is not None:
            raise KubernetesError(409, "already exists")
        return self._store(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        if self.live is None or self.live["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise KubernetesError(409, "the object has been modified")
        return self._store(manifest)

    def _store(self, manifest: Manifest) -> Manifest:
        self.writes += 1
        metadata = manifest["metadata"] | {"resourceVersion": str(self.writes)}
        self.live = manifest | {"metadata": metadata}
        return self.live


class Connection:
    """One candidate's way to the lease. `network` is awaited before and after each request; it may raise or hang."""

    def __init__(self, leases: FakeLeases, network: Callable[[], Awaitable[None]]) -> None:
        self._leases, self._network = leases, network

    async def read(self, *arguments: str) -> Manifest | None:
        return await self._sent(self._leases.read, *arguments)  # type: ignore[no-any-return]

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._sent(self._leases.create, manifest)  # type: ignore[no-any-return]

    async def replace(self, manifest: Manifest) -> Manifest:
        return await self._sent(self._leases.replace, manifest)  # type: ignore[no-any-return]

    async def _sent(self, call: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        await self._network()
        answer = await call(*arguments)
        await self._network()
        return answer


def elector(leases: Any, identity: str, timing: Timing | None = None) -> Elector:
    return Elector(leases, "system", "operator", identity, timing)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_the_first_one_leads_and_the_second_one_takes_over_when_it_goes_silent() -> None:
    leases = FakeLeases()
    first, second = elector(leases, "first"), elector(leases, "second")
    await first.acquire()
    renewing = asyncio.create_task(first.renew())
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(100)
    assert [first.leads, waiting.done()] == [True, False]
    renewing.cancel()  # killed
    died = now()
    await waiting
    assert [first.leads, second.leads] == [False, True]
    assert 10 < now() - died <= 15 + 2


OWNER = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "operator", "uid": "1"}


@pytest.mark.looptime
async def test_a_new_lease_is_deleted_with_its_owner_and_an_old_one_keeps_what_it_has() -> None:
    leases = FakeLeases()
    await Elector(leases, "system", "operator", "first", owners=[OWNER]).acquire()
    assert leases.live is not None
    assert leases.live["metadata"]["ownerReferences"] == [OWNER]
    await elector(leases, "second").acquire()
    assert leases.live["metadata"]["ownerReferences"] == [OWNER]


@pytest.mark.looptime
@pytest.mark.parametrize(("status", "level"), [(403, "INFO"), (500, "WARNING")])
async def test_an_uninstall_that_takes_the_rights_first_is_no_warning(
    status: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rochallor_operator")

    class Refusing(FakeLeases):
        async def replace(self, manifest: Manifest) -> Manifest:
            raise KubernetesError(status, "no")

    leader = elector(Refusing(), "first")
    await leader.acquire()
    await leader.release()
    levels = [record.levelname for record in caplog.records if "can't release the lease" in record.message]
    assert levels == [level]


@pytest.mark.looptime
async def test_a_released_lease_is_taken_at_the_next_try() -> None:
    leases = FakeLeases()
    first, second = elector(leases, "first"), elector(leases, "second")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0.5)
    await first.release()
    assert not first.leads
    await waiting
    assert now() <= 2


@pytest.mark.looptime
async def test_the_lease_is_written_as_other_candidates_read_it() -> None:
    """The fields are those of client-go, whose tools show them; fields of others stay."""
    leases = FakeLeases()
    first = elector(leases, "first")
    await first.acquire()
    assert leases.live is not None
    written = leases.live
    times = [written["spec"].pop(field) for field in ("acquireTime", "renewTime")]
    for time in times:
        assert datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z").utcoffset() is not None
        assert time.endswith("Z")
    assert written == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": "system", "name": "operator", "resourceVersion": "1"},
        "spec": {"holderIdentity": "first", "leaseDurationSeconds": 15, "leaseTransitions": 0},
    }
    leases.live = leases.live | {"spec": leases.live["spec"] | {"acquireTime": "then", "strategy": "x"}}
    renewing = asyncio.create_task(first.renew())
    await asyncio.sleep(3)
    renewing.cancel()
    renewed = leases.live["spec"]
    assert (renewed["acquireTime"], renewed["leaseTransitions"], renewed["strategy"]) == ("then", 0, "x")
    await first.release()
    assert (leases.live["spec"]["holderIdentity"], leases.live["spec"]["leaseTransitions"]) == ("", 0)
    await elector(leases, "second").acquire()
    assert (leases.live["spec"]["holderIdentity"], leases.live["spec"]["leaseTransitions"]) == ("second", 1)


@pytest.mark.looptime
async def test_a_candidate_that_has_not_acquired_the_lease_does_not_lead_and_has_nothing_to_release() -> None:
    leases = FakeLeases()
    candidate = elector(leases, "first")
    assert not candidate.leads
    await candidate.release()
    assert leases.writes == 0


@pytest.mark.looptime
async def test_an_unreachable_api_server_gives_no_lease() -> None:
    async def network() -> None:
        if now() < 5:
            raise KubernetesError(503, "away")

    candidate = elector(Connection(FakeLeases(), network), "first")
    await candidate.acquire()
    assert now() == 6
    assert candidate.leads


@pytest.mark.looptime
async def test_the_deadline_counts_from_when_the_write_was_sent() -> None:
    """Others may have seen it then; the time until the answer shortens the leader's term."""
    leases = FakeLeases()

    async def network() -> None:
        if leases.writes:
            await asyncio.sleep(6)

    leader = elector(Connection(leases, network), "leader")
    await leader.acquire()
    assert now() == 6
    await asyncio.sleep(3.9)
    assert leader.leads
    await asyncio.sleep(0.1)
    assert not leader.leads


@pytest.mark.looptime
async def test_a_lease_without_a_spec_is_free() -> None:
    leases = FakeLeases()
    await leases.create({"kind": "Lease", "metadata": {"namespace": "system", "name": "operator"}})
    candidate = elector(leases, "first")
    await candidate.acquire()
    assert candidate.leads


@pytest.mark.looptime
@pytest.mark.parametrize("duration", [15, 40])
async def test_the_same_name_after_a_crash_is_another_candidate(duration: int) -> None:
    """And waits for as long as the lease says: its holder may have other settings."""
    leases = FakeLeases()
    await elector(leases, "pod_1", Timing(duration=duration)).acquire()
    await elector(leases, "pod_2", Timing(retry=5)).acquire()
    assert now() == duration


@pytest.mark.looptime
@pytest.mark.parametrize("silent", [False, True])
async def test_a_leader_that_can_not_renew_stops_before_the_lease_ends(silent: bool) -> None:
    problem = False

    async def network() -> None:
        if problem and silent:
            await asyncio.sleep(1000)
        if problem:
            raise KubernetesError(None, "the API server can't be reached: refused")

    leases = FakeLeases()
    leader = elector(Connection(leases, network), "leader")
    await leader.acquire()
    written = now()
    problem = True
    why = "did not answer in time" if silent else "can't be reached: refused"
    with pytest.raises(LeadershipLostError, match=f"lost the lease 'operator': the API server {why}"):
        await leader.renew()
    assert not leader.leads
    assert now() - written <= 10
    problem = False
    await leader.release()  # changes nothing: another candidate may have it
    assert leases.writes == 1


@pytest.mark.looptime
async def test_why_the_lease_was_lost_is_not_why_it_was_waited_for() -> None:
    silent = False

    async def network() -> None:
        if silent:
            await asyncio.sleep(1000)

    leases = FakeLeases()
    await elector(leases, "first").acquire()
    second = elector(Connection(leases, network), "second")
    await second.acquire()
    silent = True
    with pytest.raises(LeadershipLostError, match="the API server did not answer in time"):
        await second.renew()


@pytest.mark.looptime
async def test_a_short_outage_is_survived() -> None:
    away = range(0)

    async def network() -> None:
        if int(now()) in away:
            raise KubernetesError(503, "away")

    leader = elector(Connection(FakeLeases(), network), "leader")
    await leader.acquire()
    away = range(1, 8)
    renewing = asyncio.create_task(leader.renew())
    await asyncio.sleep(60)
    assert leader.leads
    renewing.cancel()


@pytest.mark.looptime
async def test_a_leader_whose_lease_was_taken_stops_at_once() -> None:
    leases = FakeLeases()
    leader = elector(leases, "leader", Timing(retry=0.5))
    await leader.acquire()
    assert leases.live is not None
    await leases.replace(leases.live | {"spec": leases.live["spec"] | {"holderIdentity": "thief"}})
    with pytest.raises(LeadershipLostError, match="thief leads"):
        await leader.renew()
    assert now() == 0.5


@pytest.mark.looptime
async def test_standing_by_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    leases = FakeLeases()
    with caplog.at_level(logging.INFO):
        await elector(leases, "first").acquire()
        await elector(leases, "second").acquire()
    assert [record.getMessage() for record in caplog.records] == ["leading", "standing by", "leading"]


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_there_are_never_two_leaders_and_always_one_again(seed: int) -> None:
    """Three candidates that are restarted repeatedly, with slow, lost and late requests."""
    chance = random.Random(seed)  # a story needs more draws than hypothesis gives
    leases = FakeLeases()
    calm = False

    async def network() -> None:
        if calm:
            return
        await asyncio.sleep(chance.choice([0, 0, 0, 0.1, 3, 12, 40]))
        if chance.random() < 0.2:
            raise KubernetesError(None, "lost")

    living: dict[int, Elector] = {}

    async def live(number: int) -> None:
        for life in itertools.count():
            candidate = living[number] = elector(Connection(leases, network), f"{number}.{life}")
            with contextlib.suppress(LeadershipLostError, TimeoutError):
                async with asyncio.timeout(None if calm else chance.uniform(1, 200)):
                    await candidate.acquire()
                    await candidate.renew()
            if chance.random() < 0.5:
                await candidate.release()
            del living[number]  # killed: nobody asks it whether it leads any more
            await asyncio.sleep(1)

    async def story() -> None:
        nonlocal calm
        lives = [asyncio.create_task(live(number)) for number in range(3)]
        for _ in range(1000):
            await asyncio.sleep(0.5)
            assert sum(candidate.leads for candidate in living.values()) <= 1
        calm = True
        await asyncio.sleep(300)
        assert sum(candidate.leads for candidate in living.values()) == 1
        for task in lives:
            task.cancel()
        await asyncio.wait(lives)

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(story())
