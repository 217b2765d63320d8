"""In which order records may start: those of one instance one after another, others side by side (pure)."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class KeyedQueue(Generic[T]):
    """Items that wait, by key. At most one item of a key is out at any time; otherwise first in, first out."""

    def __init__(self) -> None:
        self._free: deque[tuple[str, T]] = deque()
        """The first of each key of which none is out."""
        self._behind: dict[str, deque[T]] = {}
        """Per key with an item that is free or out: those that come after it."""
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """Whether an item can be taken."""
        return bool(self._free)

    def put(self, key: str, item: T) -> None:
        """Add an item."""
        self._waiting += 1
        if key in self._behind:
            self._behind[key].append(item)
        else:
            self._behind[key] = deque()
            self._free.append((key, item))

    def take(self) -> T:
        """Take out the next item. Raises `IndexError` when none is ready."""
        _, item = self._free.popleft()
        self._waiting -= 1
        return item

    def done(self, key: str) -> None:
        """The item of this key that was out is no longer: the next one may be taken."""
        behind = self._behind[key]
        if behind:
            self._free.append((key, behind.popleft()))
        else:
            del self._behind[key]

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove the waiting items that are unwanted and return them. Items that are out stay out."""
        dropped: list[T] = []
        free, self._free = self._free, deque()
        for key, behind in self._behind.items():
            dropped += [item for item in behind if unwanted(item)]
            self._behind[key] = deque(item for item in behind if not unwanted(item))
        for key, item in free:
            if unwanted(item):
                dropped.append(item)
                self.done(key)
            else:
                self._free.append((key, item))
        self._waiting -= len(dropped)
        return dropped
