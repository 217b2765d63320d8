"""How long a lease is, by what the answers say (engine.md: "Clocks", "Heartbeat")."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Grant, Lease, granted

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def claim(length: float | None = None, locked_at: datetime | None = NOW, job_id: str = "j") -> ClaimedJob:
    expires = None if length is None else NOW + timedelta(seconds=length)
    return ClaimedJob(id=job_id, instance_id="i", job_type="a", locked_at=locked_at, lock_expires_at=expires)


@pytest.mark.parametrize(
    ("length", "asked", "grant"),
    [
        (30, 30, Grant(30, 30)),
        (30, 60, Grant(30, 30)),  # an engine that ignores the length asked for
        (60, 60, Grant(60, 60)),
        (5, 5, Grant(5, 5)),
        (30, 5, Grant(30, 30)),
        (28, 30, Grant(30, 28)),  # the engine's clock is 2 s behind the database's
        (62, 60, Grant(60, 62)),
        (0.5, 5, Grant(5, 0.5)),
    ],
)
def test_over_rest_the_lease_is_what_the_database_checks(length: float, asked: float, grant: Grant) -> None:
    assert granted(claim(length), asked, NOW + timedelta(hours=5)) == grant
    assert granted(claim(length), asked, NOW).clock_skew == length - grant.nominal


@pytest.mark.parametrize(
    ("shown", "asked", "length"), [(29.7, 30, 30), (30.4, 60, 30), (59, 60, 60), (5.5, 5, 5), (33, 5, 30)]
)
def test_over_grpc_it_is_the_likelier_of_the_two_lengths(shown: float, asked: float, length: float) -> None:
    grant = granted(claim(shown, locked_at=None), asked, NOW)
    assert grant == Grant(length, length)


def test_an_answer_without_an_end_counts_for_the_shorter() -> None:
    assert [granted(claim(), asked, NOW).length for asked in (5, 30, 3600)] == [5, 30, 30]


@pytest.mark.parametrize("length", [0, -1, -1e9, 86_401, 2e11])
def test_a_lease_that_makes_no_sense_counts_for_the_shorter_length(length: float) -> None:
    assert granted(claim(length), 60, NOW) == Grant(30, 30)


def test_a_renewal_counts_from_when_it_was_requested() -> None:
    lease = Lease(claim(30), 100, Grant(30, 28))
    assert [lease.end, lease.renew_at] == pytest.approx([128, 109.33], abs=0.01)
    assert lease.renewed(110, NOW + timedelta(seconds=40))
    assert [lease.end, lease.renew_at] == pytest.approx([138, 119.33], abs=0.01)


@pytest.mark.parametrize("seconds", [30, 29, -1e9])
def test_a_renewal_that_lengthens_nothing_is_ignored(seconds: float) -> None:
    lease = Lease(claim(30), 0, Grant(30, 30))
    assert not lease.renewed(10, NOW + timedelta(seconds=seconds))
    assert lease.end == 30
    assert lease.renewed(20, NOW + timedelta(seconds=50))
    assert lease.end == 50


def test_a_later_claim_is_adopted_with_its_id_and_its_lease() -> None:
    lease = Lease(claim(30), 0, Grant(30, 30))
    lease.renewable, lease.overran = False, True
    lease.adopt(Lease(claim(60, job_id="newer"), 40, Grant(60, 60)))
    assert (lease.job.id, lease.end, lease.renewable, lease.overran) == ("newer", 100, True, False)


@given(length=st.floats(0.1, 3600), begun=st.floats(0, 1e6))
def test_the_deadline_is_before_the_end_of_the_lease_and_the_renewal_before_the_deadline(
    length: float, begun: float
) -> None:
    lease = Lease(claim(length), begun, Grant(length, length))
    assert begun < lease.renew_at < lease.deadline < lease.end
    assert lease.holds(begun)
    assert not lease.holds(lease.end)


@pytest.mark.parametrize(("length", "kept"), [(3600, 1), (30, 1), (5, 1), (4, 0.8), (0.5, 0.1)])
def test_a_second_is_kept_free_for_the_outcome_or_a_fifth_of_a_short_lease(length: float, kept: float) -> None:
    lease = Lease(claim(length), 100, Grant(length, length))
    assert lease.end - lease.deadline == pytest.approx(kept)


def test_a_lease_begins_renewable_and_ours() -> None:
    lease = Lease(claim(30), 0, Grant(30, 30))
    assert (lease.renewable, lease.lost, lease.overran, lease.handler_ended) == (True, False, False, False)


def test_a_lost_job_is_no_longer_ours_whatever_the_time() -> None:
    lease = Lease(claim(30), 0, Grant(30, 30))
    lease.lose()
    assert lease.lost
    assert not lease.holds(0)


def test_each_change_of_a_lease_is_notified() -> None:
    lease = Lease(claim(30), 0, Grant(30, 30))
    notified: list[tuple[float, bool]] = []
    lease.changed = lambda: notified.append((lease.end, lease.lost))
    lease.renewed(10, NOW + timedelta(seconds=40))
    lease.adopt(Lease(claim(60), 40, Grant(60, 60)))
    lease.renewed(50, NOW)  # not later, so nothing changes
    lease.lose()
    assert notified == [(40, False), (100, False), (100, True)]
