"""Items of one key leave one after another, in order; others do not wait for them."""

from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.source.kafka.ordering import KeyedQueue

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc")),
        st.tuples(st.just("take"), st.just("")),
        st.tuples(st.just("done"), st.sampled_from("abc")),
        st.tuples(st.just("drop"), st.sampled_from("abc")),
        st.tuples(st.just("drop odd"), st.just("")),
    ),
    max_size=80,
)


@given(STEPS)
def test_against_a_plain_list(steps: list[tuple[str, str]]) -> None:
    queue: KeyedQueue[str, tuple[str, int]] = KeyedQueue()
    waiting: list[tuple[str, int]] = []
    out: dict[str, tuple[str, int]] = {}
    for number, (step, key) in enumerate(steps):
        free = {k for k, _ in waiting} - set(out)
        assert queue.ready == bool(free)
        assert len(queue) == len(waiting)
        if step == "put":
            waiting.append((key, number))
            queue.put(key, (key, number))
        elif step == "take" and free:
            item = queue.take()
            assert item[0] not in out
            assert item == next(one for one in waiting if one[0] == item[0]), "an item overtook one of its key"
            waiting.remove(item)
            out[item[0]] = item
        elif step == "done" and key in out:
            del out[key]
            queue.done(key)
        elif step.startswith("drop"):
            unwanted = [one for one in waiting if (one[0] == key if step == "drop" else one[1] % 2)]
            assert sorted(queue.drop(unwanted.__contains__)) == sorted(unwanted)
            waiting = [one for one in waiting if one not in unwanted]
    while waiting or out:  # nothing is stuck
        for key in list(out):
            del out[key]
            queue.done(key)
        while queue.ready:
            item = queue.take()
            waiting.remove(item)
            out[item[0]] = item
    assert not queue.ready


def test_keys_take_turns_in_the_order_they_came() -> None:
    queue: KeyedQueue[str, str] = KeyedQueue()
    for item in ("a1", "a2", "b1", "c1"):
        queue.put(item[0], item)
    assert [queue.take(), queue.take(), queue.take()] == ["a1", "b1", "c1"]
    queue.done("a")
    assert queue.take() == "a2"
