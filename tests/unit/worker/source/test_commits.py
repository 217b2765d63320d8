"""Commits without brokers. (With the consumer's thread: test_consumer.py.)"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import KafkaError

from rochallor_worker.source.kafka.commits import Commits

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition


class Member:
    """Records commits, and never answers."""

    def __init__(self) -> None:
        self.commits: list[dict[int, int]] = []

    def commit(self, *, offsets: "list[TopicPartition]", asynchronous: bool) -> None:
        assert asynchronous
        self.commits.append({place.partition: place.offset for place in offsets})


def made() -> tuple[Commits, "Consumer", Member, list[Mapping[int, int]]]:
    accepted: list[Mapping[int, int]] = []
    member = Member()
    return Commits("t", accepted.append), cast("Any", member), member, accepted


def test_offsets_in_flight_of_a_lost_partition_are_forgotten() -> None:
    """Another worker owns it now: committed again, they would reset its position."""
    commits, consumer, member, accepted = made()
    commits.put(0, 5)
    commits.put(1, 7)
    commits.send(consumer)
    assert member.commits == [{0: 5, 1: 7}]
    commits.forget([0])
    commits.answered(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    commits.send(consumer, {})
    assert member.commits[1:] == [{1: 7}]
    commits.answered(None)
    assert accepted == [{1: 7}]


def test_waiting_and_committed_offsets_of_a_lost_partition_are_forgotten() -> None:
    commits, consumer, member, _ = made()
    commits.put(0, 5)
    commits.send(consumer)
    commits.answered(None)
    assert commits.committed == {0: 5}
    commits.put(0, 6)
    commits.forget([0])
    assert commits.committed == {}
    commits.send(consumer, {})
    assert member.commits[1:] == [{}]
