"""In which order records may start: those of one key one after another, others in parallel (pure)."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class KeyedQueue(Generic[K, T]):
    """A queue by key. At most one item of a key is out at any time; otherwise first in, first out."""

    def __init__(self) -> None:
        self._free: deque[tuple[K, T]] = deque()
        """The first of each key of which none is out."""
        self._behind: dict[K, deque[T]] = {}
        """Per key with an item that is free or out: those that come after it."""
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """Whether an item can be taken."""
        return bool(self._free)

    def put(self, key: K, item: T) -> None:
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

    def done(self, key: K) -> None:
        """Note that the item of this key that was out is done: the next one may be taken."""
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
