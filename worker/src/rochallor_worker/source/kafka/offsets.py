"""Which offset of a partition may be committed (pure).

A committed offset means that everything below it is done: an offset committed past a job whose outcome the engine has
not accepted loses that job forever (engine.md: with Kafka dispatch the engine redelivers nothing).
"""

from collections import deque


class Offsets:
    """The records of one partition from its assignment to its loss. Records begin in the order of their offsets."""

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        """From the lowest one that is not done to the highest one."""
        self._done: set[int] = set()
        """Those among them that are done."""
        self._end: int | None = None

    def begin(self, offset: int) -> None:
        """Note a record that is to be processed."""
        self._begun.append(offset)
        self._end = offset + 1

    def reached(self, offset: int) -> None:
        """Note that nothing else comes below this offset: what was there is deleted, or no job."""
        self._end = max(offset, self._end or 0)

    def done(self, offset: int) -> None:
        """Note that a record that has begun is done. Once for each."""
        self._done.add(offset)
        while self._begun and self._begun[0] in self._done:
            self._done.remove(self._begun.popleft())

    @property
    def committable(self) -> int | None:
        """The lowest offset that is not done, or the end that was reached; None before either is known."""
        return self._begun[0] if self._begun else self._end

    @property
    def width(self) -> int:
        """Records from the lowest one that is not done to the highest: what is redelivered if this process dies."""
        return len(self._begun)
