"""What a consumer's thread tells the event loop."""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from confluent_kafka import Message


class Listener(Protocol):
    """What the loop is told. Partitions are numbers of the consumer's topic."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """These partitions are ours from now on."""

    def received(self, messages: Sequence[Message]) -> None:
        """Records came, in the order of their offsets per partition. Each has taken up room."""

    def revoked(self, partitions: Sequence[int]) -> Coroutine[Any, Any, dict[int, int]]:
        """These partitions are to be given up; returns, soon, the offsets that may be committed for them."""
        ...

    def lost(self, partitions: Sequence[int]) -> None:
        """These partitions are somebody else's already."""

    def crashed(self, error: BaseException) -> None:
        """The thread has ended by an error in this program."""
