"""Whether partitions are still this process's own after a stall: it was stopped, or a handler blocked the event loop.

Kafka meanwhile gives its partitions to others, and it learns of that only some time after it goes on.
"""

from collections.abc import Callable, Collection

from confluent_kafka import Consumer, KafkaError

from rochallor_worker.source.kafka.bounds import Bounds
from rochallor_worker.source.kafka.commits import Commits


class Stall:
    """No `tick` for longer than `longest` seconds is a stall; before the first one there is none."""

    def __init__(self, longest: float, clock: Callable[[], float]) -> None:
        self._longest = longest
        self._clock = clock
        self._ticked_at = float("inf")

    def detected(self) -> bool:
        """Whether the process was stalled. Each stall is reported once, to the first caller after it."""
        stalled = self._clock() - self._ticked_at > self._longest
        if stalled:
            self.tick()
        return stalled

    def tick(self) -> None:
        """Note that the process makes progress."""
        self._ticked_at = self._clock()


class Ownership:
    """Whether one consumer still owns its partitions: the brokers accept a commit only from a member of the group.

    `verify` and `verified` are for the event loop, the rest is for the consumer's thread, which calls `post` to have
    something called on the loop.
    """

    def __init__(self, commits: Commits, bounds: Bounds, post: Callable[..., None]) -> None:
        self._commits = commits
        self._bounds = bounds
        self._post = post
        self._requested = self._answered = 0
        """How often the loop asked for a verification, and which of these requests was answered last."""
        self._pending = 0
        """The request that the commit in flight will answer, if any."""

    @property
    def verified(self) -> bool:
        """Whether the partitions are certainly still this consumer's, or their loss has been reported."""
        return self._answered == self._requested

    def verify(self) -> None:
        """Ask the brokers; `verified` is false until they have answered, or until the partitions are lost."""
        self._requested += 1

    def commit(self, member: Consumer, assigned: Collection[int]) -> None:
        """Commit what is done, if it is time; to verify the ownership at once, if need be with an unchanged offset."""
        request = self._requested
        if self.verified or self._commits.in_flight:
            self._commits.send(member)
        elif not assigned:
            self._post(self._confirm, request)
        elif unchanged := self._unchanged(member, min(assigned)):
            self._pending = request
            self._commits.send(member, unchanged)

    def on_commit(self, error: KafkaError | None, _: object) -> None:
        """Take in the brokers' answer to a commit."""
        pending, self._pending = self._pending, 0
        self._commits.answered(error)
        if pending and error is None:
            self._post(self._confirm, pending)

    def _unchanged(self, member: Consumer, partition: int) -> dict[int, int]:
        """Return an offset whose commit changes nothing; empty if the brokers do not answer."""
        offset = self._commits.committed.get(partition)
        if offset is None:
            offset = self._bounds.start(member, partition)
        return {} if offset is None else {partition: offset}

    def _confirm(self, request: int) -> None:
        self._answered = request
