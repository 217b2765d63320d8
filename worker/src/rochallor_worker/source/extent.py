"""Where the partitions of one consumer begin and end, and so how much is left to do."""

from collections.abc import Collection, Iterable

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

ASK_SECONDS = 1.0
"""How long the brokers are asked for offsets."""


class Extent:
    """Of the partitions of `topic`, as last heard of. What the brokers do not say in time stays as it was."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def left(self, partition: int, begun: int | None) -> int:
        """Return how many records there are from the offset `begun` on; None: no record has come yet."""
        start = self._starts.get(partition) if begun is None else begun
        return 0 if start is None else max(0, self._ends.get(partition, 0) - start)

    def measure(self, member: Consumer, fetched: Iterable[int], paused: Collection[int]) -> None:
        """Take note of the ends: what is fetched tells them; where nothing is, the brokers are asked, all at once."""
        for number in fetched:
            end = member.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)[1]
            self._ends |= {number: end} if end >= 0 else {}
        self._ends |= self._ask(member, paused, OFFSET_END)
        self._find_starts(member, paused)

    def start(self, member: Consumer, partition: int) -> int | None:
        """Return where the group began in a partition when that was first asked for; None if the brokers don't say."""
        self._find_starts(member, [partition])
        return self._starts.get(partition)

    def forget(self, partitions: Iterable[int]) -> None:
        """These are not ours any more."""
        for number in partitions:
            self._starts.pop(number, None)
            self._ends.pop(number, None)

    def _find_starts(self, member: Consumer, numbers: Iterable[int]) -> None:
        """What is committed, else the lowest offset there is."""
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
            # in place of a time it takes the names of the beginning and the end
            found = member.offsets_for_times(places, timeout=ASK_SECONDS) if places else []
        except KafkaException:
            return {}
        return {at.partition: at.offset for at in found if at.error is None and at.offset >= 0}
