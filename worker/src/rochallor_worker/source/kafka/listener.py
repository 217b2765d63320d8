"""What a consumer's thread reports to the event loop."""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import Message


class Listener(Protocol):
    """Receives these reports. Partitions are numbers of the consumer's topic."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """These partitions are ours from now on."""

    def received(self, messages: Sequence[Message]) -> None:
        """Records came, ordered by offset within each partition. Each has taken up room."""

    def reached(self, partition: int, offset: int) -> None:
        """A partition has no further records below this offset: the end was reached, or what was there is deleted."""

    def committed(self, offsets: Mapping[int, int]) -> None:
        """The brokers have accepted these offsets: nothing below them is redelivered."""

    def revoked(self, partitions: Sequence[int]) -> Coroutine[Any, Any, dict[int, int]]:
        """These partitions are about to be given up; return, soon, the offsets that may be committed for them."""
        ...

    def lost(self, partitions: Sequence[int]) -> None:
        """These partitions already belong to other members."""

    def crashed(self, error: BaseException) -> None:
        """An error in this program has ended the thread."""
