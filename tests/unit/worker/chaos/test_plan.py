from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.chaos.plan import AT_OUTCOME, AT_REQUEST, MOST_REQUESTS, Disturbance, Fault, drawn, singly

REQUESTS = st.dictionaries(st.text(min_size=1), st.integers(0, 9), min_size=1)


@given(REQUESTS)
def test_each_fault_is_tried_alone_at_each_step_and_request(requests: dict[str, int]) -> None:
    expected = {
        (step, (Disturbance(fault, at),))
        for step, count in requests.items()
        for fault in Fault
        for at in range(1 if fault in AT_OUTCOME else min(count, MOST_REQUESTS))
    }
    planned = singly(requests)
    assert set(planned) == expected
    assert len(planned) == len(expected)
    assert set(AT_OUTCOME) | set(AT_REQUEST) == set(Fault)


@given(REQUESTS, st.integers(), st.integers(0, 20))
def test_the_seed_decides_what_is_drawn_and_more_rounds_only_add(
    requests: dict[str, int], seed: int, rounds: int
) -> None:
    planned = list(drawn(requests, rounds, seed))
    assert planned == list(drawn(requests, rounds + 1, seed))[:rounds]
    for step, disturbances in planned:
        assert len(disturbances) == 2
        assert all(one.request < max(requests[step], 1) for one in disturbances)
