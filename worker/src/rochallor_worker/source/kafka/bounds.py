"""Where the partitions of one consumer begin and end, and so the lag."""

from collections.abc import Collection, Iterable

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

ASK_SECONDS = 1.0
"""Longest wait for the brokers to answer with offsets."""


class Bounds:
    """Partitions of `topic`, as last known. What the brokers do not answer in time stays as it was."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def lag(self, partition: int, position: int | None) -> int:
        """Return how many records there are from the offset `position` on; None: no record has come yet."""
        start = self._starts.get(partition) if position is None else position
        return 0 if start is None else max(0, self._ends.get(partition, 0) - start)

    def measure(self, member: Consumer, fetched: Iterable[int], paused: Collection[int]) -> None:
        """Update the ends: the client knows those of what it fetches; for the rest it asks the brokers, once."""
        for number in fetched:
            end = member.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)[1]
            self._ends |= {number: end} if end >= 0 else {}
        self._ends |= self._ask(member, paused, OFFSET_END)
        self._find_starts(member, paused)

    def start(self, member: Consumer, partition: int) -> int | None:
        """Return where the group began in a partition when first asked; None if the brokers do not answer."""
        self._find_starts(member, [partition])
        return self._starts.get(partition)

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that are no longer this consumer's."""
        for number in partitions:
            self._starts.pop(number, None)
            self._ends.pop(number, None)

    def _find_starts(self, member: Consumer, numbers: Iterable[int]) -> None:
        """Find the committed offsets, or the lowest ones where nothing is committed."""
        unknown = [TopicPartition(self._topic, number) for number in numbers if number not in self._starts]
        try:
            found = member.committed(unknown, timeout=ASK_SECONDS) if unknown else []
        except KafkaException:
            return
        self._starts |= {at.partition: at.offset for at in found if at.offset >= 0}
        self._starts |= self._ask(member, [at.partition for at in found if at.offset < 0], OFFSET_BEGINNING)

    def _ask(self, member: Consumer, numbers: Iterable[int], which: int) -> dict[int, int]:
        places = [TopicPartition(self._topic, number, which) for number in numbers]
        try:
            # in place of a time, the call accepts the constants for the beginning and the end
            found = member.offsets_for_times(places, timeout=ASK_SECONDS) if places else []
        except KafkaException:
            return {}
        return {at.partition: at.offset for at in found if at.error is None and at.offset >= 0}
